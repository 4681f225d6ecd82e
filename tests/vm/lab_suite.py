#!/usr/bin/python3
"""Boots stock Debian kernels with vireo and checks what they see: runs where KVM is ordinary.

	lab_suite.py [--only SCENARIO] GROUP FOLDER

FOLDER has, for each kernel, SUITE.vmlinuz, SUITE.vmlinux, SUITE.cpio (an initrd of lab/guest-initrd with
linux_checks.sh as /checks) and SUITE-nics.cpio (with what lab_nics.py wants, too). Each scenario boots one guest and
gives several results; each is one line of JSON on standard output, as soon as it is known. test_linux.py makes
pytest's tests of them: SCENARIOS says which there have to be. lab_context.py has what scenarios are made of,
lab_nics.py those of emulated cards, and lab_{vhost,vhost_user,mq,user,host,udp,uso}.py those of the ways out of the host.
"""
import argparse
import contextlib
import hashlib
import importlib
import pathlib
import re
import sys
import tempfile
import time
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from harness import (Failure, IN_LAB, Peer, Process, Vireo, all_passed, guest_args,  # noqa: E402
                     tail, total, wait_until)
import lab_nics  # noqa: E402
from lab_context import AREA_MIB, BOOT_LIMIT, SCENARIOS, Context, say, scenario  # noqa: E402

IPERF_MIB = 256
TRIES = 3  # of a scenario that the emulator spoils
lab_nics.add_scenarios()
for name in ("vhost", "vhost_user", "mq", "user", "host", "udp", "uso"):  # each adds its own
    importlib.import_module(f"lab_{name}")

# ---- the scenarios ----

@scenario("a", "boot", "row-C2", "chipset", "driver", "ping", "iperf3", "disk", "disk-parallel", "rng",
          "interrupts", "clock", "reload-virtio_net", "reload-virtio_blk", "reload-virtio_rng",
          "dmesg", "power-off", "counters")
def bookworm_default(s):
    """Debian 12's kernel, one vCPU, devices as they are by default: all there is to see."""
    reloads = ("virtio_net", "virtio_blk", "virtio_rng")
    vm = s.start("bookworm", [
        "boot", "lspci_vv", "driver", "ping_host", f"iperf:{IPERF_MIB}", f"disk:{AREA_MIB}",
        f"disk_parallel:{2 * AREA_MIB}", "rng", "interrupts", "clock",
        *(f"reload:{module}" for module in reloads), "complaints"], "-no-shutdown")
    s.judge_boot(vm, 1)
    s.follow(vm)
    with s.judge("row-C2"):
        nic = re.search(r"^\S+ 0200: 1af4:1000.*?(?=^\S|\Z)", s.section(vm, "lspci_vv"),
                        re.MULTILINE | re.DOTALL)
        s.need(nic[0] if nic else "",
               r"^\S+ 0200: 1af4:1000$",
               r"^\tSubsystem: 1af4:0001$",
               r"^\tRegion 0: I/O ports at [0-9a-f]+ \[size=32\]$",
               r"^\tRegion 1: Memory at [0-9a-f]+ \(32-bit, non-prefetchable\) \[size=4K\]$",
               r"^\tExpansion ROM at [0-9a-f]+ \[disabled\] \[size=64K\]$",
               r"^\tCapabilities: \[\w+\] MSI-X: Enable\+ Count=3 Masked-$",
               r"^\t\tVector table: BAR=1 offset=00000000$",
               r"^\t\tPBA: BAR=1 offset=00000800$",
               r"^\tKernel driver in use: virtio-pci$")
    with s.judge("chipset"):
        s.need(s.section(vm, "lspci_vv"), r"^00:00.0 0600: 8086:1237", r"^00:01.0 0601: 8086:7000",
               r"^00:01.1 0101: 8086:7010", r"^00:01.3 0680: 8086:7113",
               r"^\S+ 0100: 1af4:1001", r"^\S+ 00ff: 1af4:1005")
    with s.judge("driver"):
        s.need(s.section(vm, "driver"), r"^driver: virtio_net$",
               r"^tx-checksumming: on$", r"^tcp-segmentation-offload: on$")
    s.judge_ping(vm)
    s.judge_iperf(vm, IPERF_MIB)
    s.judge_disk(vm)
    with s.judge("disk-parallel"):
        text = s.section(vm, f"disk_parallel:{2 * AREA_MIB}")
        with open(s.disk, "rb") as file:
            file.seek(2 * AREA_MIB << 20)
            image = hashlib.sha256(file.read(8 << 20)).hexdigest()
        s.need(text, f"^written={image}$", f"^again={image}$")
    with s.judge("rng"):
        s.need(s.section(vm, "rng"), r"^virtio_rng", r"^[0-9a-f]{64} ")
    with s.judge("interrupts"):
        s.need(s.section(vm, "interrupts"), r"PCI-MSI.*virtio\d-config", r"PCI-MSI.*virtio\d-input\.0",
               r"PCI-MSI.*virtio\d-output\.0", r"PCI-MSI.*virtio\d-req\.0")
    with s.judge("clock"):
        s.need(s.section(vm, "clock"), r"^kvm-clock$", r"tsc: .*processor|tsc: .*MHz|tsc: Detected")
    for module in reloads:
        with s.judge(f"reload-{module}"):
            s.need(s.section(vm, f"reload:{module}"),
                   " 0% packet loss" if module == "virtio_net" else "^[0-9a-f]{64} ")
    s.judge_complaints(vm)
    with s.judge("power-off"):
        s.need_end()
        vm.wait_for("reboot: Power down", BOOT_LIMIT)
        while vm.monitor.status() == "running":
            time.sleep(0.05)
        if vm.monitor.status() != "paused (shutdown)":
            raise vm.failure(f"after power-off its status is {vm.monitor.status()}")
    with s.judge("counters"):
        s.need_end()
        counters = vm.monitor.counters()
        if total(counters, "malformed") or total(counters, "latched"):
            raise Failure(f"a ring was malformed:\n{vm.monitor.command('info io')}")
        packets = total(counters, "tx-packets"), total(counters, "rx-packets")
        if min(packets) < IPERF_MIB << 20 >> 16:
            raise Failure(f"packets sent and received are {packets}")
    vm.monitor.send("quit")
    vm.wait(10, 0)


def judge_packed(s, vm):
    """Both drivers have taken packed rings (VIRTIO_F_RING_PACKED)."""
    with s.judge("packed"):
        bits = dict(re.findall(r"^(virtio_net|virtio_blk) ([01]{64,})$", s.section(vm, "features"), re.MULTILINE))
        if sorted(bits) != ["virtio_blk", "virtio_net"] or any(text[34] != "1" for text in bits.values()):
            raise Failure(f"the drivers' features: {bits}")


@scenario("a", "boot", "topology", "packed", "no-cable", "set-link", "ping", "disk", "interrupts", "dmesg", "power-off")
def bookworm_4_vcpus(s):
    """4 vCPUs in two sockets; the modern interface with packed rings; the cable pulled out under traffic."""
    vm = s.start("bookworm", ["boot", "topology", "features", "traffic:6", "ping_host:5", f"disk:{AREA_MIB}",
                              "interrupts", "complaints"],
                 smp="4,sockets=2,cores=2", nic=",disable-legacy=on,packed=on",
                 disk=",disable-legacy=on,packed=on,num-queues=4")
    s.judge_boot(vm, 4)
    with s.judge("no-cable"):
        s.need_end()
        vm.wait_for("begin traffic", BOOT_LIMIT)
        vm.wait_for("connected to", BOOT_LIMIT)
        nic = re.search(r"^id: (\S+)", vm.monitor.command("info network"), re.MULTILINE)[1]
        for _ in range(5):
            vm.monitor.command(f"set_link {nic} off")
            time.sleep(0.2)
            vm.monitor.command(f"set_link {nic} on")
            time.sleep(0.3)
        received = total(vm.monitor.counters(), "rx-packets")
        # TCP waits the longer, the longer nothing came through.
        wait_until(lambda: total(vm.monitor.counters(), "rx-packets") > received, "packets that come in", BOOT_LIMIT)
    s.follow(vm)
    with s.judge("set-link"):
        s.need(vm.output, r"vireo-check: end traffic:6 status=0 ")
    with s.judge("topology"):
        text = s.section(vm, "topology")
        s.need(text, r"^cpu0 package=0 core=0", r"^cpu1 package=0 core=1",
               r"^cpu2 package=1 core=[02]", r"^cpu3 package=1 core=[13]",
               r"^cpu cores\s*: 2$", r"^siblings\s*: 2$")
    judge_packed(s, vm)
    s.judge_ping(vm, "ping_host:5")
    s.judge_disk(vm)
    with s.judge("interrupts"):
        s.need(s.section(vm, "interrupts"), r"PCI-MSI.*virtio\d-input\.0", r"PCI-MSI.*virtio\d-req\.3")
    s.judge_complaints(vm)
    s.end(vm)


@scenario("b", "boot", "row-id", "ping", "iperf3", "disk", "tsc", "reload-virtio_net", "dmesg", "power-off")
def trixie_legacy(s):
    """Debian 13's kernel as vmlinux (PVH), 2 vCPUs, the legacy interface."""
    vm = s.start("trixie", ["boot", "lspci_vv", "ping_host", "iperf:64", f"disk:{AREA_MIB}", "clocksource:tsc",
                            "reload:virtio_net", "complaints"],
                 smp=2, nic=",disable-modern=on", disk=",disable-modern=on", image="vmlinux")
    s.judge_boot(vm, 2)
    s.end(vm)
    with s.judge("row-id"):
        nic = re.search(r"^\S+ 0200: 1af4:1000.*?(?=^\S|\Z)", s.section(vm, "lspci_vv"),
                        re.MULTILINE | re.DOTALL)
        s.need(nic[0] if nic else "", r"^\tRegion 0: I/O ports at [0-9a-f]+ \[size=32\]$")
        if "Vendor Specific Information: VirtIO" in nic[0]:
            raise Failure(f"a legacy device has modern capabilities:\n{tail(nic[0])}")
    s.judge_ping(vm)
    s.judge_iperf(vm, 64)
    s.judge_disk(vm)
    with s.judge("tsc"):
        text = s.section(vm, "clocksource:tsc")
        # In the lab time passes unevenly, and the kernel may give up the TSC for it.
        s.need(text, "^tsc$" if not IN_LAB else "^tsc$|unstable")
        before, after = map(float, re.search(r"before=(\S+) after=(\S+)", text).groups())
        if not 0.9 < after - before < 10:
            raise Failure(f"a second took {after - before} s")
    with s.judge("reload-virtio_net"):
        s.need(s.section(vm, "reload:virtio_net"), " 0% packet loss")
    s.judge_complaints(vm)


@scenario("b", "boot", "row-id", "packed", "ping", "iperf3", "disk", "interrupts", "dmesg", "power-off")
def trixie_nomsi(s):
    """Interrupts by the pin: pci=nomsi, modern and transitional devices, packed rings, 2 vCPUs."""
    vm = s.start("trixie", ["boot", "lspci_vv", "features", "ping_host", "iperf:32", f"disk:{AREA_MIB}",
                            "interrupts", "complaints"],
                 smp=2, nic=",disable-legacy=on,packed=on", disk=",packed=on", append="pci=nomsi")
    s.judge_boot(vm, 2)
    s.end(vm)
    with s.judge("row-id"):
        s.need(s.section(vm, "lspci_vv"), r"^\S+ 0200: 1af4:1041", "MSI-X: Enable- Count=3")
    judge_packed(s, vm)
    s.judge_ping(vm)
    s.judge_iperf(vm, 32)
    s.judge_disk(vm)
    with s.judge("interrupts"):
        text = s.section(vm, "interrupts")
        s.need(text, r"IO-APIC.*virtio\d")
        if re.search(r"PCI-MSI.*virtio", text):
            raise Failure(f"there are MSI in spite of pci=nomsi:\n{text}")
    s.judge_complaints(vm)


@scenario("a", "boot", "dhcp", "button", "dmesg", "power-off")
def bookworm_button(s):
    """An address by DHCP; the power button, pressed from the monitor."""
    configuration = s.folder / "udhcpd.conf"
    configuration.write_text(f"start 10.0.0.50\nend 10.0.0.60\ninterface t0\n"
                             f"lease_file {s.folder}/leases\npidfile {s.folder}/udhcpd.pid\n"
                             "option subnet 255.255.255.0\n")
    (s.folder / "leases").touch()
    with Process(["busybox", "udhcpd", "-f", configuration], s.folder, "udhcpd", ns=s.ns):
        vm = s.start("bookworm", ["boot", "dhcp", "ping_host", "power_button", "complaints"],
                     smp=2, module_parameters="")
        s.judge_boot(vm, 2)
        with s.judge("button"):
            s.need_end()
            vm.wait_for("waiting for the power button", BOOT_LIMIT)
            vm.monitor.command("system_powerdown")
            vm.wait_for("^pressed$", BOOT_LIMIT)
        s.end(vm)
    with s.judge("dhcp"):
        s.need(s.section(vm, "dhcp"), r"^lease of 10\.0\.0\.5\d/", r"inet 10\.0\.0\.5\d/")
        s.need(s.section(vm, "ping_host"), r" 0% packet loss")
    s.judge_complaints(vm)


@scenario("b", "reboots", "power-off")
def bookworm_ten_reboots(s):
    """The guest restarts in place, again and again."""
    vm = s.start("bookworm", ["reboots:10", "ping_host"], smp=2, memory=256, reboots=True, image="vmlinux",
                 append="mitigations=off cryptomgr.notests")
    with s.judge("reboots"):
        for boot in range(1, 11):
            vm.wait_for(rf"^boot {boot} of 10$", BOOT_LIMIT)
    s.end(vm)


@scenario("a", "net-tx", "net-rx", "net-rtt", "blk-rw", "rng", "interrupts", "pins", "hostile", "reboot")
def builtin_guest(s):
    """vireo's own guest, where the kernel's and the user's mode run alike."""
    devices = ("-netdev", "tap,id=n0,ifname=t0,vhost=off", "-device", "virtio-net-pci,netdev=n0",
               "-drive", f"file={s.disk},format=raw,if=virtio", "-device", "virtio-rng-pci")

    def run(result, tests, *args, mode=None, peer=()):
        with s.judge(result), contextlib.ExitStack() as stack:
            other = stack.enter_context(Peer(s.ns, s.folder, "t0", mode, *peer)) if mode else None
            vm = stack.enter_context(Vireo(s.folder, *guest_args(tests), *devices, *args, ns=s.ns))
            vm.wait(60, 0)
            all_passed(vm)
            if other:
                other.finish()

    run("net-tx", "net-tx count=20000 irq=1 peer=60000", mode="sink", peer=("--count", 20000))
    run("net-rx", "net-rx count=20000 irq=1 peer=60000 idle=20000", mode="source", peer=("--count", 20000))
    run("net-rtt", "net-rtt count=500 irq=intx peer=60000", mode="echo", peer=("--count", 0))
    run("blk-rw", "blk-rw irq=1 blk-rw irq=intx transport=legacy")
    run("rng", "rng irq=1")
    run("interrupts", "irq-test device=net irq-test device=blk irq-test device=rng")
    run("pins", "irq-test device=net irq=intx irq-test device=blk irq=intx irq-test device=rng irq=intx")
    run("hostile", "hostile device=net hostile device=blk")
    run("reboot", "reboot count=10")


@scenario("large", "boot", "memory", "ping", "iperf3", "disk", "dmesg", "power-off")
def trixie_5_gib(s):
    """More memory than fits below 4 GiB."""
    vm = s.start("trixie", ["boot", "ping_host", "iperf:64", f"disk:{AREA_MIB}", "complaints"], smp=2,
                 memory="5G")
    s.judge_boot(vm, 2)
    s.end(vm)
    with s.judge("memory"):
        kib = int(re.search(r"MemTotal:\s*(\d+)", s.section(vm, "boot"))[1])
        if kib < 4800 << 10:
            raise Failure(f"the guest of 5 GiB has {kib} KiB")
    s.judge_ping(vm)
    s.judge_iperf(vm, 64)
    s.judge_disk(vm)
    s.judge_complaints(vm)


def run(name, kernels):
    """One scenario; what the lab's emulator leaves open is tried again, twice. What has failed stays so."""
    started = time.monotonic()
    for left in reversed(range(TRIES)):
        fault = run_once(name, kernels, not left)
        if not fault:
            break
        say(scenario=name, again=fault)
    say(scenario=name, seconds=round(time.monotonic() - started, 1))


def run_once(name, kernels, last):
    """What the emulator has done, if that left results open: those are not reported unless it is the LAST time."""
    _, results, function = SCENARIOS[name]
    with tempfile.TemporaryDirectory(prefix="vireo-") as folder:
        problem = "the scenario did not come to this result"
        try:
            s = Context(name, kernels, folder)
        except Exception:
            say(scenario=name, result=None, ok=False, message=traceback.format_exc())
            return None
        try:
            function(s)
        except Exception as error:
            problem = str(error) if isinstance(error, Failure) else traceback.format_exc()
        finally:
            s.close()
        fault = s.fault() if not s.done.issuperset(results) else None
        if fault and not s.failed and not last:
            return fault
        for result in results:
            if result not in s.done:
                s.report(result, f"{fault}, and so {TRIES} times" if fault and last else fault or problem)
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], metavar="SCENARIO")
    parser.add_argument("group")
    parser.add_argument("folder")
    args = parser.parse_args()
    for name, (group, _, _) in SCENARIOS.items():
        if group == args.group and (not args.only or name in args.only):
            run(name, args.folder)


if __name__ == "__main__":
    main()
