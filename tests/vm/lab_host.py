#!/usr/bin/python3
"""Ways to the host's network that vireo makes itself, under a stock Debian kernel and with vhost-net: scenarios of
lab_suite.py, or by themselves:

	lab_host.py [--only SCENARIO] host FOLDER

FOLDER as for lab_suite.py. w0 is the host's card here, and t0 the other end of its cable, where iperf3 listens.
"""
import contextlib
import pathlib
import re
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from harness import Failure, Vireo, all_passed, guest_args, wait_until  # noqa: E402
from lab_context import SCENARIOS, SILENCE, scenario  # noqa: E402
from lab_nics import GUEST_MAC, HOST_MAC, Host, need_stream  # noqa: E402

GROUP = "host"
MIB = 256  # each way
CARDS = "virtio-net-pci", "rtl8139", "e1000"
MACS = GUEST_MAC.format(0), GUEST_MAC.format(1)
OTHER = "52:54:00:aa:bb:0f"


def make_wire(s):
    subprocess.run(["modprobe", "-a", "vhost_net", "macvtap"], check=False)
    s.ns.shell(f"ip link delete t0; ip link add w0 type veth peer name t0 address {HOST_MAC}; "
               "ip link set w0 up; ip link set t0 up; ip address add 10.0.0.1/24 dev t0")


def make_bridge(s):
    s.ns.shell("ip link add br0 type bridge; ip link set br0 up; ip link set w0 master br0")


class LinuxGuest:
    """One guest, and what it asks for on its console."""

    def __init__(self, s, netdev, checks, device="virtio-net-pci", **more):
        self.s, self.told = s, {}
        s.ns.shell(f"ip neighbour replace 10.0.0.2 lladdr {MACS[0]} dev t0 nud permanent")
        self.host = Host(s, f"t0:{MACS[0]}")
        s.stack.callback(self.host.close)
        self.vm = s.start("bookworm", ["boot", "setup", *checks], "-netdev", f"{netdev},id=n0",
                          "-device", f"{device},netdev=n0,mac={MACS[0]}", nic=None, initrd="bookworm-nics",
                          module_parameters="", **more)

    def answer(self, words):
        command, _, rest = words.partition(" ")
        if command == "note":
            self.told[rest] = self.vm.monitor.command("info network")
            return "noted"
        if command == "wire":
            self.s.ns.run("ip", "link", "set", "t0", rest)
            return f"the wire is {rest}"
        if command == "moved":  # the guest's card has another address
            self.s.ns.run("ip", "neighbour", "replace", "10.0.0.2", "lladdr", OTHER, "dev", "t0", "nud", "permanent")
            wait_until(lambda: OTHER in self.s.ns.run("ip", "link", "show", "macvtap0"), "the macvtap's address", SILENCE)
            return "seen"
        return self.host.ask(words)

    def run(self, smp=1):
        self.s.judge_boot(self.vm, smp)
        if self.s.follow(self.vm, self.answer):
            self.s.end(self.vm)

    def vhost(self, note):
        self.s.section(self.vm, f"ask:note,{note}")
        match = re.search(r"^\s*vhost: (.*)$", self.told[note], re.MULTILINE)
        return match[1] if match else self.told[note]


@scenario(GROUP, "boot", "vhost", "ping", "stream", "iperf3", "address", "cable", "gone", "dmesg", "power-off")
def macvtap_linux(s):
    """A MacVTap with vhost: traffic, another address, the cable below."""
    make_wire(s)
    guest = LinuxGuest(s, "macvtap,link=w0,vhost=on", [
        "ask:note,on", "ping_host", f"stream:{MIB},64", f"iperf:{MIB}",
        "ask:wire,down", "carrier:0,eth0", "ask:wire,up", "carrier:1,eth0", "setup", "ping_host:4",
        "ip:link,set,eth0,down", f"ip:link,set,eth0,address,{OTHER}", "setup", "ask:moved", "ping_host:5", "complaints"],
        smp=2)
    guest.run(2)
    with s.judge("vhost"):
        if guest.vhost("on") != "on":
            raise Failure(f"vhost: {guest.vhost('on')}")
    s.judge_ping(guest.vm)
    with s.judge("stream"):
        need_stream(guest.host, s.section(guest.vm, f"stream:{MIB},64"), MIB)
    s.judge_iperf(guest.vm, MIB)
    with s.judge("cable"):
        s.need(s.section(guest.vm, "carrier:0,eth0"), "carrier=0")
        s.need(s.section(guest.vm, "carrier:1,eth0"), "carrier=1")
        s.need(s.section(guest.vm, "ping_host:4"), r" 0% packet loss")
    with s.judge("address"):
        s.need(s.section(guest.vm, "ping_host:5"), r" 0% packet loss")
    with s.judge("gone"):
        s.need_end()
        if "macvtap" in s.ns.run("ip", "link"):
            raise Failure("the macvtap is still there")
    s.judge_complaints(guest.vm)


def cards(s, netdev):
    """One guest, each of whose cards is on a back end of that kind."""
    checks, words, addresses = [], [], []
    for n, card in enumerate(CARDS):
        mac = GUEST_MAC.format(n)
        s.ns.shell(f"ip address replace 10.0.{n}.1/24 dev t0; "
                   f"ip neighbour replace 10.0.{n}.2 lladdr {mac} dev t0 nud permanent")
        checks += [f"carrier:1,eth{n}", f"ping_host:5,10.0.{n}.1", f"stream:{MIB},64,10.0.{n}.1"]
        words += ["-netdev", f"{netdev},id=n{n}", "-device", f"{card},netdev=n{n},mac={mac}"]
        addresses.append(f"vireo.ip=10.0.{n}.2/24@eth{n}")
    host = Host(s, f"t0:{MACS[0]}")
    s.stack.callback(host.close)
    vm = s.start("bookworm", ["boot", *checks, "complaints"], *words, nic=None, initrd="bookworm-nics",
                 module_parameters=" ".join(addresses))
    s.judge_boot(vm, 1)
    if s.follow(vm, host.ask):
        s.end(vm)
    for n, card in enumerate(CARDS):
        with s.judge(f"{card}-ping"):
            s.need(s.section(vm, f"ping_host:5,10.0.{n}.1"), r" 0% packet loss")
        with s.judge(f"{card}-stream"):
            need_stream(host, s.section(vm, f"stream:{MIB},64,10.0.{n}.1"), MIB)
    s.judge_complaints(vm)


CARDS_RESULTS = "boot", *(f"{card}-{result}" for card in CARDS for result in ("ping", "stream")), "dmesg", "power-off"


@scenario(GROUP, *CARDS_RESULTS)
def macvtap_cards(s):
    """MacVTaps on one interface."""
    make_wire(s)
    cards(s, "macvtap,link=w0")


@scenario(GROUP, *CARDS_RESULTS)
def bridge_cards(s):
    """TAPs that vireo makes, in one bridge."""
    make_wire(s)
    make_bridge(s)
    cards(s, "tap,br=br0,vhost=off")


def two_guests(s, result, netdev):
    """One sends back what the other sends."""
    words = "irq=1 pair=1 peer=60000"
    with s.judge(result), contextlib.ExitStack() as stack:
        echo, rtt = (stack.enter_context(Vireo(
            s.folder, *guest_args(f"{test} {words}"), "-netdev", f"{netdev},id=n0", "-device",
            f"virtio-net-pci,netdev=n0,mac={mac}", ns=s.ns, name=name))
            for name, test, mac in (("echo", "net-echo idle=30000", MACS[0]), ("rtt", "net-rtt count=1000", MACS[1])))
        rtt.wait(90, 0)
        all_passed(rtt)
        echo.wait(90, 0)
        all_passed(echo)


@scenario(GROUP, "macvtap", "macvtap-vhost-off", "bridge", "bridge-vhost-off")
def two_guests_meet(s):
    """Two guests on one interface, and on one bridge; with vhost and without."""
    make_wire(s)
    two_guests(s, "macvtap", "macvtap,link=w0,vhost=on")
    two_guests(s, "macvtap-vhost-off", "macvtap,link=w0,vhost=off")
    make_bridge(s)
    two_guests(s, "bridge", "tap,br=br0,vhost=on")
    two_guests(s, "bridge-vhost-off", "tap,br=br0,vhost=off")


if __name__ == "__main__":
    import lab_suite
    assert SCENARIOS
    lab_suite.main()
