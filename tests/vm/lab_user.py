#!/usr/bin/python3
"""-netdev user under stock Debian kernels: scenarios of lab_suite.py, or by themselves:

	lab_user.py [--only SCENARIO] user FOLDER

FOLDER as for lab_suite.py. vireo runs as nobody. The guest's network has the addresses that the checks know: 10.0.0.1 is
the host's loopback, where iperf3, a web server and a name server are.
"""
import hashlib
import os
import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from harness import Failure, Process, total  # noqa: E402
from lab_context import BOOT_LIMIT, FULL, SCENARIOS, scenario  # noqa: E402
from unprivileged import Unprivileged  # noqa: E402

GROUP = "user"
HOST = pathlib.Path(__file__).with_name("ip_host.py")
RESULTS = ("boot", "dhcp", "ping", "iperf3", "out", "in", "names", "dump", "dmesg", "power-off")
FETCH_MIB, SERVE_MIB, IPERF_MIB = (256, 256, 64) if FULL else (64, 32, 32)
NET = "user,id=n0,net=10.0.0.0/24,host=10.0.0.1,dhcpstart=10.0.0.50,dns=10.0.0.3,hostfwd=tcp:127.0.0.1:7000-:7000"


def run_card(s, device):
    data = os.urandom(FETCH_MIB << 20)
    web = s.folder / "web"
    web.mkdir()
    (web / "data").write_bytes(data)
    resolv = s.folder / "resolv.conf"
    resolv.write_text("nameserver 127.0.0.1\n", encoding="ascii")
    dump = s.folder / "n0.pcap"
    s.folder.chmod(0o777)
    s.disk.chmod(0o666)
    os.chmod("/dev/kvm", 0o666)
    s.ns.shell("ip link delete t0")
    for name, words in (("web", [sys.executable, "-m", "http.server", 8000, "--directory", web]),
                        ("names", [sys.executable, HOST, "names"])):
        process = Process(words, s.folder, name, ns=s.ns)
        s.stack.callback(process.close)
        if name == "names":
            process.wait_for("ready")
    inside, s.ns = s.ns, Unprivileged(s.ns, resolv)
    vm = s.start("bookworm", ["boot", "dhcp", "ping_host", f"iperf:{IPERF_MIB}", "fetch:8000,data",
                              f"serve:7000,{SERVE_MIB}", "look_up:10.0.0.3,example.test", "complaints"],
                 "-netdev", NET, "-device", f"{device},netdev=n0", "-object",
                 f"filter-dump,id=f0,netdev=n0,file={dump},maxlen=60", nic=None, module_parameters="")
    s.ns = inside
    s.judge_boot(vm, 1)
    with s.judge("in"):
        s.need_end()
        vm.wait_for("^serving$", 4 * BOOT_LIMIT)
        counters = vm.monitor.counters()
        get = Process([sys.executable, HOST, "get", 7000, SERVE_MIB << 20], s.folder, "get", ns=s.ns)
        s.stack.callback(get.close)
        get.wait(BOOT_LIMIT, 0)
        if get.output.strip() not in vm.output:
            raise Failure(f"the host has read {get.output.strip()}\n{s.section(vm, f'serve:7000,{SERVE_MIB}')}")
    s.end(vm)
    with s.judge("dhcp"):
        s.need(s.section(vm, "dhcp"), r"^lease of 10\.0\.0\.50/(24|255\.255\.255\.0) from 10\.0\.0\.1$")
    s.judge_ping(vm)
    s.judge_iperf(vm, IPERF_MIB)
    with s.judge("out"):
        s.need(s.section(vm, "fetch:8000,data"), f"^{hashlib.md5(data, usedforsecurity=False).hexdigest()} ")
    with s.judge("names"):
        s.need(s.section(vm, "look_up:10.0.0.3,example.test"), r"^Address.*192\.0\.2\.77$")
    with s.judge("dump"):
        frames = counters["f0"]["dump"]
        packets = total(counters["n0"], "tx-packets") + total(counters["n0"], "rx-packets")
        if frames["lost"] or not frames["frames"] or frames["frames"] > packets:
            raise Failure(f"frames: {packets}, and in the file: {frames}")
    s.judge_complaints(vm)


@scenario(GROUP, *RESULTS)
def user_virtio(s):
    """virtio-net, whose frames vireo completes and cuts."""
    run_card(s, "virtio-net-pci")


@scenario(GROUP, *RESULTS)
def user_rtl8139(s):
    """8139cp."""
    run_card(s, "rtl8139,romfile=")


@scenario(GROUP, *RESULTS)
def user_e1000(s):
    """e1000."""
    run_card(s, "e1000,romfile=")


if __name__ == "__main__":
    import lab_suite
    assert SCENARIOS
    lab_suite.main()
