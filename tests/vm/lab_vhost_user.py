#!/usr/bin/python3
"""vhost-user under a stock Debian kernel, with Open vSwitch's DPDK datapath as peer: a scenario of lab_suite.py, or by
itself:

	lab_vhost_user.py vhost-user FOLDER

FOLDER as for lab_suite.py. The bridge has a port for the guest, and v0, whose other end t0 is the host's.
"""
import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from lab_context import SCENARIOS, SILENCE, scenario  # noqa: E402
from lab_nics import GUEST_MAC, HOST_MAC, Host, need_stream  # noqa: E402
from test_ovs import Switch  # noqa: E402

GROUP = "vhost-user"
MIB = 256  # each way


@scenario(GROUP, "boot", "ping", "stream", "dmesg", "power-off")
def vhost_user_switch(s):
    """TCP to the host, and back, through the switch."""
    mac = GUEST_MAC.format(0)
    s.ns.shell(f"ip link delete t0; ip link add v0 type veth peer name t0 address {HOST_MAC}; "
               "ip link set v0 up; ip link set t0 up; ip address add 10.0.0.1/24 dev t0; "
               f"ip neighbour replace 10.0.0.2 lladdr {mac} dev t0 nud permanent; "
               # a switch that passes frames on by itself completes no checksums
               "ethtool -K t0 tx off; ethtool -K v0 tx off")
    switch = Switch(s.folder, s.ns)
    s.stack.callback(switch.close)
    switch.make_database({})
    switch.start()
    path = switch.add_port("p0", True)
    host = Host(s, f"t0:{mac}")
    s.stack.callback(host.close)
    vm = s.start("bookworm", ["boot", "ping_host", f"stream:{MIB},32", "complaints"],
                 "-chardev", f"socket,id=c0,path={path},server=on", "-netdev", "vhost-user,id=n0,chardev=c0",
                 "-device", f"virtio-net-pci,netdev=n0,mac={mac}", nic=None, initrd="bookworm-nics",
                 append="ipv6.disable=1")
    s.judge_boot(vm, 1)
    if s.follow(vm, host.ask):
        s.end(vm)
    s.judge_ping(vm)
    with s.judge("stream"):
        need_stream(host, s.section(vm, f"stream:{MIB},32"), MIB)
    s.judge_complaints(vm)


if __name__ == "__main__":
    import lab_suite
    assert SCENARIOS and SILENCE
    lab_suite.main()
