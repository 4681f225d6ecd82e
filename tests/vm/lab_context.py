"""What the scenarios of lab_suite.py stand on: a guest, what it is run with, and how its checks are judged.

A guest runs checks (linux_checks.sh) one after the other, and prints what they found between two lines for each.
follow() waits until it is through, as long as something comes from its console: there is no limit for all checks
together. One that falls silent has stopped in the midst of a check, whose name the results then say that hang on it.
What it had finished before is judged all the same.

What the lab's emulator does wrong is not held against vireo: the guest ends there, and the scenario is run again for
what then is left open (lab_suite.run). A check that came to its end is judged as ever, and what failed stays so.
"""
import contextlib
import hashlib
import json
import os
import pathlib
import re
import subprocess
import traceback

from harness import Failure, IN_LAB, Namespace, Patience, Process, ProcessFailure, Vireo, tail

DISK_MIB = 64
AREA_MIB = 16	# of the disk, that the guest writes; the next one is the host's
NIC_MAC = "00:16:3e:22:22:22"
# Seconds, and four times that in the lab (harness.SLOWNESS). In a lab on two processors that six others wanted, too,
# the longest that a check said nothing was 10 s (disk_parallel:32) and a boot took 34 s; with 20 others
# over 120 s.
BOOT_LIMIT = 100
SILENCE = 30
FULL = bool(os.environ.get("VIREO_LAB_FULL"))  # more is moved: see lab_nics.py
CHECK_LIMIT = 3600 if FULL else 150

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
    "Firmware left e100 interrupts enabled",  # as they are after the reset of that card
    ": interrupt from stopped card",  # 8390: a device is no longer running some time before its card is stopped
    "PCI: Using host bridge windows", "quirk_", "hpet", "amd_pstate",
)
# In the lab, time passes unevenly.
INNOCENT_IN_LAB = re.compile(r".*(?:clocksource|hrtimer): .*\n")

ALARMS = re.compile(r"\bBUG\b|WARNING:|nobody cared|ACPI (BIOS )?Error|Call Trace|Oops|soft lockup|"
                    r"rcu.*stall|hung_task|hung task|Kernel panic")

# What the emulator does wrong, with any monitor (lab/README.md has more): in what the guest's kernel says, and in what
# vireo does.
DOUBLE_FAULT = re.compile(r"double fault: .*(?:\n.*){0,8}RIP: \S*:?entry_SYSCALL_64", re.IGNORECASE)
CRASH = re.compile(r"Kernel panic - not syncing: (.*)")
IMPOSSIBLE_FLAGS = re.compile(r"EFLAGS: ((?!00[0-3])[0-9a-f]{8})$", re.MULTILINE)  # bits 22-31 are always 0
TRIPLE_FAULT = re.compile(r"^vireo: (vCPU \d+: triple fault.*?)(?:, which resets the machine)?$", re.MULTILINE)

# Lines that say something: neither the kernel's, nor iperf3's of seconds in which nothing was carried.
PROGRESS = re.compile(r"^(?!\[ *\d+\.\d+\] )(?!.* 0\.00 Bytes ).*\n", re.MULTILINE)
BEGIN = re.compile(r"^vireo-check: begin (.*)$", re.MULTILINE)
ASK = re.compile(r"^vireo-ask: (.*)\n", re.MULTILINE)
END = re.compile(r"^vireo-check: end (\S+) ", re.MULTILINE)
EXIT = re.compile(r"^vireo-guest: exit=(\d+)$", re.MULTILINE)

SCENARIOS = {}  # name: (group, names of results, function)


def scenario(group, *results):
    def register(function):
        SCENARIOS[function.__name__.replace("_", "-")] = (group, results, function)
        return function
    return register


def say(**line):
    """A line for whoever runs lab_suite.py."""
    print(json.dumps(line), flush=True)


def emulators_fault(output, errors):
    """What the lab's emulator has done to a guest, or None."""
    if not IN_LAB:
        return None
    if DOUBLE_FAULT.search(output):
        return "the guest's kernel met with a double fault on entry to a system call"
    flags, crash = IMPOSSIBLE_FLAGS.search(output), CRASH.search(output)
    if flags:
        return f"the guest's kernel met with EFLAGS {flags[1]}, which no processor has"
    if crash and not BEGIN.search(output):
        return f"the guest's kernel crashed before it came to a check: {crash[1]}"
    triple = TRIPLE_FAULT.search(errors)
    return triple and triple[1]


class Context:
    """What a scenario has: a namespace with a TAP and iperf3's server, a disk, and its results."""

    def __init__(self, name, kernels, folder):
        self.name = name
        self.kernels = pathlib.Path(kernels)
        self.folder = pathlib.Path(folder)
        self.done = set()
        self.failed = set()
        self.vm = None
        self.first_with = {}  # a problem: the result that reported it
        self.stuck = None  # why the guest did not come to the end of its checks
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

    def fault(self):
        """What the lab's emulator has done to the guest, or None."""
        return self.vm and emulators_fault(self.vm.output, self.vm.errors)

    def report(self, result, problem=None):
        self.done.add(result)
        if problem:
            self.failed.add(result)
        first = self.first_with.setdefault(problem, result)
        if problem and first != result:
            problem = f"as {self.name}, {first}"
        say(scenario=self.name, result=result, ok=problem is None, message=problem or "")

    @contextlib.contextmanager
    def judge(self, result):
        """The result is good unless the block raises. Where that is only because the emulator ended the guest, it is
        left open."""
        try:
            yield
        except Exception as error:
            if isinstance(error, ProcessFailure) and self.fault():
                return
            text = str(error) if isinstance(error, Failure) else traceback.format_exc()
            self.report(result, text)
        else:
            self.report(result)

    def start(self, kernel, checks, *args, smp=1, memory=512, nic="", disk="", append="",
              image="vmlinuz", initrd=None, reboots=False, module_parameters="vireo.ip=10.0.0.2/24"):
        """Boots a guest that runs these checks; -net as scripts have it unless NIC says more (None: ARGS do)."""
        words = ["-kernel", self.kernels / f"{kernel}.{image}",
                 "-initrd", self.kernels / f"{initrd or kernel}.cpio",
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
        # vhost=off: it is vireo's own way that is tested. lab_vhost.py has the other.
        if nic is None:
            pass
        elif nic:
            words += ["-netdev", "tap,id=n0,ifname=t0,script=no,downscript=no,vhost=off",
                      "-device", f"virtio-net-pci,netdev=n0,mac={NIC_MAC}{nic}"]
        else:
            words += ["-net", f"nic,model=virtio,macaddr={NIC_MAC}",
                      "-net", "tap,ifname=t0,script=no,vhost=off"]
        self.vm = vm = Vireo(self.folder, *words, *args, ns=self.ns, stdin=subprocess.PIPE)
        self.stack.callback(vm.close)
        return vm

    def follow(self, vm, answer=None):
        """Waits until the guest has run its checks, as long as it goes on. True if it has. What it asks for on its
        console (nic_checks.sh), answer() does and returns."""
        if self.stuck:
            return False
        silence, check = Patience(SILENCE), Patience(CHECK_LIMIT)
        said = begun = asked = 0
        for output in vm.news():
            if output is not None:
                if EXIT.search(output):
                    return True
                for words in ASK.findall(output)[asked:]:
                    asked += 1
                    vm.process.stdin.write(f"{answer(words)}\n".encode())
                    vm.process.stdin.flush()
                    silence.renew()
                before = said, begun
                begins = BEGIN.findall(output[:output.rfind("\n") + 1])
                said, begun = len(PROGRESS.findall(output)), len(begins)
                if said != before[0]:
                    silence.renew()
                if begun != before[1]:
                    check.renew()
                    say(scenario=self.name, check=begins[-1])
            if emulators_fault(output or "", vm.errors):
                self.stuck = "the lab's emulator did wrong"
                break
            if silence.is_over():
                self.stuck = f"nothing on its console for {silence.limit:g} s"
                break
            if check.is_over():
                self.stuck = f"not through with it after {check.limit:g} s"
                break
        self.stuck = str(vm.failure(f"{self.place(vm.output)}: {self.stuck or 'vireo has ended'}"))
        return False

    @staticmethod
    def place(output):
        """Where a guest stands, to be followed by what is wrong there."""
        begun, ended = BEGIN.findall(output), END.findall(output)
        if len(begun) > len(ended):
            return f"the guest is in its check '{begun[-1]}'"
        return f"the guest is behind its check '{ended[-1]}'" if ended else "the guest began no check"

    def need_end(self):
        """For what makes sense only of a guest that has come through its boot, or its checks, so far."""
        if self.stuck:
            raise ProcessFailure(self.stuck)

    def section(self, vm, check, status=0):
        """What the guest's check said; raises if it isn't there or ended with another status."""
        match = re.search(rf"^vireo-check: begin {re.escape(check)}\n(.*?)"
                          rf"^vireo-check: end {re.escape(check)} status=(\d+) uptime=\S+$",
                          vm.output, re.MULTILINE | re.DOTALL)
        if not match:
            self.need_end()
            raise vm.failure(f"the guest's check '{check}' did not finish")
        if int(match[2]) != status:
            raise Failure(f"the guest's check '{check}' ended with status {match[2]}:\n"
                          f"{tail(match[1])}")
        return match[1]

    def need(self, text, *patterns):
        for pattern in patterns:
            if not re.search(pattern, text, re.MULTILINE):
                raise Failure(f"no line has '{pattern}':\n{tail(text, 100)}")

    def end(self, vm):
        """Waits until the guest has run its checks and switched itself off."""
        self.follow(vm)
        with self.judge("power-off"):
            self.need_end()
            vm.wait(BOOT_LIMIT, 0)
            if EXIT.search(vm.output)[1] != "0":
                raise vm.failure("the guest's checks ended with an error")

    # ---- judges that several scenarios use ----

    def judge_boot(self, vm, smp):
        with self.judge("boot"):
            try:
                vm.wait_for(r"^vireo-guest: up after", BOOT_LIMIT)
                vm.wait_for(r"^vireo-check: end boot status=\d+ .*\n", SILENCE)
            except Failure as failure:
                self.stuck = str(failure)
                raise
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
