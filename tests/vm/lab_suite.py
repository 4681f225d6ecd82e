#!/usr/bin/python3
"""Boots stock Debian kernels with vireo and checks what they see: runs where KVM is ordinary.

	lab_suite.py [--only SCENARIO] GROUP FOLDER

FOLDER has, for each kernel, SUITE.vmlinuz, SUITE.vmlinux and SUITE.cpio (an initrd of lab/guest-initrd with
linux_checks.sh as /checks). Each scenario boots one guest and gives several results; each is one
line of JSON on standard output, as soon as it is known. test_linux.py makes pytest's tests of
them: SCENARIOS says which there have to be.
"""
import argparse
import contextlib
import hashlib
import json
import os
import pathlib
import re
import sys
import tempfile
import time
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from harness import (Failure, IN_LAB, Namespace, Peer, Process, Vireo,  # noqa: E402
                     all_passed, guest_args, tail, total, wait_until)

DISK_MIB = 64
AREA_MIB = 16	# of the disk, that the guest writes; the next one is the host's
IPERF_MIB = 512
NIC_MAC = "00:16:3e:22:22:22"
BOOT_LIMIT = 30  # seconds, and four times that in the lab (harness.SLOWNESS), as all limits here
RUN_LIMIT = 75

# Kernel messages of level warning that are not vireo's doing.
INNOCENT = (
    "fail to add MMCONFIG information",  # a 440FX has no extended configuration space
    "PCI: System does not support PCI",
    "Speculative Return Stack Overflow",
    "WARNING: Spectre v2 mitigation leaves CPU vulnerable",
    "Retpoline", "RETBleed", "Spectre", "MDS", "TAA:", "MMIO Stale Data", "VMSCAPE", "TSA:",
    "device-mapper", "Unstable clock detected", "trace_clock", "on the kernel command line",
    "If you want to keep using the local clock",
    "module verification failed", "tainting kernel",
    "process '/",  # "started with executable stack"
    "Performance Events: ", "no TPM chip", "AMD-Vi: AMD IOMMUv2", "random: ",
    "All bugs added by David S. Miller", "PPS API", "i8042: PNP: No PS/2",
    "CPU MTRRs all blank", "clocksource_watchdog", "cblist_init_generic", "TSC doesn't count",
    "kvm-guest: ", "kvm-clock: ", "ENERGY_PERF_BIAS", "core: CPUID marked event",
    "PCI: Using host bridge windows", "quirk_", "hpet", "amd_pstate",
)
# In the lab, time passes unevenly.
INNOCENT_IN_LAB = re.compile(r".*(?:clocksource|hrtimer): .*\n")

ALARMS = re.compile(r"\bBUG\b|WARNING:|nobody cared|ACPI (BIOS )?Error|Call Trace|Oops|soft lockup|"
                    r"rcu.*stall|hung_task|hung task|Kernel panic")

SCENARIOS = {}  # name: (group, names of results, function)


def scenario(group, *results):
    def register(function):
        SCENARIOS[function.__name__.replace("_", "-")] = (group, results, function)
        return function
    return register


class Context:
    """What a scenario has: a namespace with a TAP and iperf3's server, a disk, and its results."""

    def __init__(self, name, kernels, folder):
        self.name = name
        self.kernels = pathlib.Path(kernels)
        self.folder = pathlib.Path(folder)
        self.done = set()
        self.stack = contextlib.ExitStack()
        self.ns = Namespace()
        self.stack.callback(self.ns.close)
        self.ns.tap("t0", "10.0.0.1/24")
        self.server = Process(["iperf3", "-s"], folder, "iperf3", ns=self.ns,
                              env={"TMPDIR": "/dev/shm"})
        self.stack.callback(self.server.close)
        self.disk = self.folder / "disk.img"
        self.hosts_area = os.urandom(AREA_MIB << 20)
        with open(self.disk, "wb") as file:
            file.truncate(DISK_MIB << 20)
            file.seek(AREA_MIB << 20)
            file.write(self.hosts_area)

    def close(self):
        self.stack.close()

    def report(self, result, problem=None):
        self.done.add(result)
        line = {"scenario": self.name, "result": result, "ok": problem is None,
                "message": problem or ""}
        print(json.dumps(line), flush=True)

    @contextlib.contextmanager
    def judge(self, result):
        """The result is good unless the block raises."""
        try:
            yield
        except Exception as error:
            text = str(error) if isinstance(error, Failure) else traceback.format_exc()
            self.report(result, text)
        else:
            self.report(result)

    def start(self, kernel, checks, *args, smp=1, memory=512, nic="", disk="", append="",
              image="vmlinuz", reboots=False, module_parameters="vireo.ip=10.0.0.2/24"):
        """Boots a guest that runs these checks; -net as scripts have it unless NIC says more."""
        words = ["-kernel", self.kernels / f"{kernel}.{image}",
                 "-initrd", self.kernels / f"{kernel}.cpio",
                 "-append", f"console=ttyS0 quiet panic=-1 {module_parameters} {append} "
                            f"-- /checks {' '.join(checks)}",
                 "-m", memory, "-smp", smp,
                 "-drive", f"file={self.disk},format=raw,if=none,id=d0",
                 "-device", f"virtio-blk-pci,drive=d0,serial=VIREO-TEST{disk}",
                 "-device", "virtio-rng-pci"]
        if IN_LAB:
            # The lab's emulator doesn't intercept XSETBV: with XSAVE a guest's kernel takes too small a
            # size for the state that the processor saves, and overwrites memory ("XSAVE consistency
            # problem" in its log, with any monitor).
            words += ["-cpu", "host,-xsave"]
        if not reboots:
            words.append("-no-reboot")
        if nic:
            words += ["-netdev", "tap,id=n0,ifname=t0,script=no,downscript=no",
                      "-device", f"virtio-net-pci,netdev=n0,mac={NIC_MAC}{nic}"]
        else:
            words += ["-net", f"nic,model=virtio,macaddr={NIC_MAC}",
                      "-net", "tap,ifname=t0,script=no"]
        vm = Vireo(self.folder, *words, *args, ns=self.ns)
        self.stack.callback(vm.close)
        return vm

    def section(self, vm, check, status=0):
        """What the guest's check said; raises if it isn't there or ended with another status."""
        match = re.search(rf"^vireo-check: begin {re.escape(check)}\n(.*?)"
                          rf"^vireo-check: end {re.escape(check)} status=(\d+)$",
                          vm.output, re.MULTILINE | re.DOTALL)
        if not match:
            raise vm.failure(f"the guest's check '{check}' did not finish")
        if int(match[2]) != status:
            raise Failure(f"the guest's check '{check}' ended with status {match[2]}:\n"
                          f"{tail(match[1])}")
        return match[1]

    def need(self, text, *patterns):
        for pattern in patterns:
            if not re.search(pattern, text, re.MULTILINE):
                raise Failure(f"no line has '{pattern}':\n{tail(text, 100)}")

    def end(self, vm, timeout=BOOT_LIMIT):
        """Waits until the guest has switched itself off."""
        with self.judge("power-off"):
            vm.wait(timeout, 0)
            if not re.search(r"^vireo-guest: exit=0$", vm.output, re.MULTILINE):
                raise vm.failure("the guest did not come to its end")

    # ---- judges that several scenarios use ----

    def judge_boot(self, vm, smp):
        with self.judge("boot"):
            vm.wait_for(r"^vireo-guest: up after", BOOT_LIMIT)
            vm.wait_for(r"^vireo-check: end boot status=\d+\n", 30)
            self.need(self.section(vm, "boot"), rf"^kernel=\S+ cpus={smp}$")

    def judge_ping(self, vm, check="ping_host"):
        with self.judge("ping"):
            self.need(self.section(vm, check), r" 0% packet loss")

    def judge_iperf(self, vm, mib):
        with self.judge("iperf3"):
            text = self.section(vm, f"iperf:{mib}")
            if len(re.findall(r"receiver$", text, re.MULTILINE)) != 2:
                raise Failure(f"iperf3 did not run both ways:\n{tail(text)}")

    def check_disk(self, vm):
        """What guest and host read and wrote has the same checksums."""
        text = self.section(vm, f"disk:{AREA_MIB}")
        sums = dict(re.findall(r"^(\w+)=([0-9a-f]{64})$", text, re.MULTILINE))
        with open(self.disk, "rb") as file:
            written = hashlib.sha256(file.read(AREA_MIB << 20)).hexdigest()
        hosts = hashlib.sha256(self.hosts_area).hexdigest()
        if not sums.get("written") == sums.get("again") == written:
            raise Failure(f"the guest wrote {sums.get('written')}, read {sums.get('again')}; "
                          f"in the image is {written}\n{tail(text)}")
        if sums.get("hosts") != hosts:
            raise Failure(f"the host wrote {hosts}, the guest read {sums.get('hosts')}")
        self.need(text, rf"^size={DISK_MIB << 11} serial=VIREO-TEST$")

    def judge_disk(self, vm):
        with self.judge("disk"):
            self.check_disk(vm)

    def judge_complaints(self, vm):
        with self.judge("dmesg"):
            text, console = self.section(vm, "complaints"), vm.output
            if IN_LAB:
                text, console = INNOCENT_IN_LAB.sub("", text), INNOCENT_IN_LAB.sub("", console)
            bad = [line for line in text.splitlines()
                   if re.search(r"\] *\S", line) and not any(word in line for word in INNOCENT)]
            bad += [line for line in console.splitlines()
                    if ALARMS.search(line) and line not in bad]
            if bad:
                raise Failure("the kernel complains:\n" + tail("\n".join(bad), 100))


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
    vm.wait_for("^vireo-guest: exit=0$", RUN_LIMIT)
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
        vm.wait_for("reboot: Power down", 30)
        while vm.monitor.status() == "running":
            time.sleep(0.05)
        if vm.monitor.status() != "paused (shutdown)":
            raise vm.failure(f"after power-off its status is {vm.monitor.status()}")
    with s.judge("counters"):
        counters = vm.monitor.counters()
        if total(counters, "malformed") or total(counters, "latched"):
            raise Failure(f"a ring was malformed:\n{vm.monitor.command('info io')}")
        packets = total(counters, "tx-packets"), total(counters, "rx-packets")
        if min(packets) < IPERF_MIB << 20 >> 16:
            raise Failure(f"packets sent and received are {packets}")
    vm.monitor.send("quit")
    vm.wait(10, 0)


@scenario("a", "boot", "topology", "no-cable", "set-link", "ping", "disk", "interrupts", "dmesg", "power-off")
def bookworm_4_vcpus(s):
    """4 vCPUs in two sockets; the modern interface; the cable pulled out under traffic."""
    vm = s.start("bookworm", ["boot", "topology", "traffic:6", "ping_host:5", f"disk:{AREA_MIB}",
                              "interrupts", "complaints"],
                 smp="4,sockets=2,cores=2", nic=",disable-legacy=on", disk=",disable-legacy=on,num-queues=4")
    s.judge_boot(vm, 4)
    with s.judge("no-cable"):
        vm.wait_for("begin traffic", 30)
        vm.wait_for("connected to", 30)
        nic = re.search(r"^id: (\S+)", vm.monitor.command("info network"), re.MULTILINE)[1]
        for _ in range(5):
            vm.monitor.command(f"set_link {nic} off")
            time.sleep(0.2)
            vm.monitor.command(f"set_link {nic} on")
            time.sleep(0.3)
        received = total(vm.monitor.counters(), "rx-packets")
        # TCP waits the longer, the longer nothing came through.
        wait_until(lambda: total(vm.monitor.counters(), "rx-packets") > received, "packets that come in", 30)
    vm.wait_for("^vireo-guest: exit=0$", RUN_LIMIT)
    with s.judge("set-link"):
        s.need(vm.output, r"vireo-check: end traffic:6 status=0")
    with s.judge("topology"):
        text = s.section(vm, "topology")
        s.need(text, r"^cpu0 package=0 core=0", r"^cpu1 package=0 core=1",
               r"^cpu2 package=1 core=[02]", r"^cpu3 package=1 core=[13]",
               r"^cpu cores\s*: 2$", r"^siblings\s*: 2$")
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
    s.end(vm, RUN_LIMIT)
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
        s.need(text, "^tsc$")
        before, after = map(float, re.search(r"before=(\S+) after=(\S+)", text).groups())
        if not 0.9 < after - before < 10:
            raise Failure(f"a second took {after - before} s")
    with s.judge("reload-virtio_net"):
        s.need(s.section(vm, "reload:virtio_net"), " 0% packet loss")
    s.judge_complaints(vm)


@scenario("b", "boot", "row-id", "ping", "iperf3", "disk", "interrupts", "dmesg", "power-off")
def trixie_nomsi(s):
    """Interrupts by the pin: pci=nomsi, modern and transitional devices, 2 vCPUs."""
    vm = s.start("trixie", ["boot", "lspci_vv", "ping_host", "iperf:32", f"disk:{AREA_MIB}",
                            "interrupts", "complaints"],
                 smp=2, nic=",disable-legacy=on", append="pci=nomsi")
    s.judge_boot(vm, 2)
    s.end(vm, RUN_LIMIT)
    with s.judge("row-id"):
        s.need(s.section(vm, "lspci_vv"), r"^\S+ 0200: 1af4:1041", "MSI-X: Enable- Count=3")
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
            vm.wait_for("waiting for the power button", 60)
            vm.monitor.command("system_powerdown")
            vm.wait_for("^pressed$", 20)
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
    devices = ("-netdev", "tap,id=n0,ifname=t0", "-device", "virtio-net-pci,netdev=n0",
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
    s.end(vm, RUN_LIMIT)
    with s.judge("memory"):
        kib = int(re.search(r"MemTotal:\s*(\d+)", s.section(vm, "boot"))[1])
        if kib < 4800 << 10:
            raise Failure(f"the guest of 5 GiB has {kib} KiB")
    s.judge_ping(vm)
    s.judge_iperf(vm, 64)
    s.judge_disk(vm)
    s.judge_complaints(vm)


def run(name, kernels):
    _, results, function = SCENARIOS[name]
    with tempfile.TemporaryDirectory(prefix="vireo-") as folder:
        problem = "the scenario did not come to this result"
        started = time.monotonic()
        try:
            s = Context(name, kernels, folder)
        except Exception:
            print(json.dumps({"scenario": name, "result": None, "ok": False,
                              "message": traceback.format_exc()}), flush=True)
            return
        try:
            function(s)
        except Exception as error:
            problem = str(error) if isinstance(error, Failure) else traceback.format_exc()
        finally:
            s.close()
        for result in results:
            if result not in s.done:
                s.report(result, problem)
                problem = f"as {name}, {result}"
        print(json.dumps({"scenario": name, "seconds": time.monotonic() - started}), flush=True)


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
