"""Runs lab_suite.py, one process per group of scenarios: in the lab, or on this host's KVM if that can.

Groups are started when the first result is asked for, two at a time, with the scenarios that pytest was asked for. A
scenario's results are there when its group comes to them.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import warnings

import harness
import lab_context
import lab_suite

LAB = harness.ROOT / "lab"
GUEST_MODULES = ("button", "evdev", "8021q")
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
NIC_PROGRAMS = ("tcpdump", "ip")
SUITES = ("bookworm", "trixie")
# Per group: MiB and processors of the lab's machine, seconds until it is ended (ten times that where all is run that
# there is). A guest of 5 GiB needs its room. What hangs is found much sooner, by lab_suite.py or lab/run.
GROUPS = {"a": (2560, 1, 1800), "b": (2560, 1, 1800), "c": (2560, 1, 2700), "d": (2560, 1, 2700),
          "large": (7168, 1, 900), "vhost": (2560, 1, 2700), "mq": (2560, 1, 2700), "user": (2560, 1, 2700),
          "host": (2560, 1, 2700), "udp": (2560, 1, 2700), "uso": (2560, 1, 2700), "vhost-user": (2560, 1, 2700)}
KERNELS = {"uso": "trixie"}  # of the lab's machine, where it isn't bookworm's
AT_ONCE = 2
TRIES = 2
LAB_FAILED = 125  # lab/run's status for its own failure


class Unable(Exception):
    """Why this host can run no Linux guest at all."""


def can_run_linux(host):
    return bool(host) and host.get("verdict") == "ordinary"


def run_tool(*words):
    done = subprocess.run(words, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise harness.Failure(f"{words[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def nic_files(tree):
    """What guests with emulated cards have besides: the checks, iproute2 where busybox does not take it for
    its own, a user for tcpdump, firmware for e100, the reader for lab_udp.py."""
    shutil.copy(pathlib.Path(__file__).with_name("nic_checks.sh"), tree / "nic_checks")
    (tree / "tests").mkdir()
    (tree / "tests" / "ip").symlink_to(shutil.which("ip", path=PATH))
    shutil.copy(harness.BUILD / "tools" / "udp", tree / "tests" / "udp")
    (tree / "etc").mkdir()
    (tree / "etc" / "passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    firmware = tree / "lib" / "firmware" / "e100"
    firmware.mkdir(parents=True)
    # Intel's is not free. The driver wants 134 words for the card, and which three of them it may change.
    for name in ("d101m", "d101s", "d102e"):
        (firmware / f"{name}_ucode.bin").write_bytes(bytes(134 * 4) + bytes((0, 1, 2)))


def make_guests(folder, suites=SUITES):
    """Kernels and initrds under the names that lab_suite.py knows."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as tree, tempfile.TemporaryDirectory() as nic_tree:
        checks = pathlib.Path(tree) / "checks"
        shutil.copy(pathlib.Path(__file__).with_name("linux_checks.sh"), checks)
        checks.chmod(0o755)
        nic_files(pathlib.Path(nic_tree))
        for suite in suites:
            kernel = pathlib.Path(run_tool(LAB / "kernel", "--build", harness.BUILD, suite))
            for image in ("vmlinuz", "vmlinux"):
                link = folder / f"{suite}.{image}"
                link.unlink(missing_ok=True)
                link.symlink_to(kernel / image)
            modules = [word for name in GUEST_MODULES for word in ("--module", name)]
            run_tool(LAB / "guest-initrd", "--add", tree, *modules, kernel, folder / f"{suite}.cpio")
            programs = [word for name in NIC_PROGRAMS for word in ("--program", shutil.which(name, path=PATH))]
            run_tool(LAB / "guest-initrd", "--base", folder / f"{suite}.cpio", "--add", nic_tree, *programs,
                     folder / f"{suite}-nics.cpio")


def why_unable(direct):
    """Why Linux guests can't run here, or None. DIRECT: on this host's own KVM."""
    programs = ["iperf3", "busybox", "ethtool", "lspci", *NIC_PROGRAMS]
    if not direct:
        programs.append("qemu-system-x86_64")
    missing = [name for name in programs if not shutil.which(name, path=PATH)]
    return f"the lab and its guests need {', '.join(missing)}" if missing else None


class Group:
    """One run of lab_suite.py.

    Where the lab itself fails (L1 hangs or panics: seen now and then), what is not through is run once more, with a
    warning that says so. What a guest or vireo does wrong is final: but a scenario's results only when it is over, for
    by then a failing lab has shown itself.
    """

    def __init__(self, name, words, limit, folder, scenarios=()):
        self.name, self.words, self.limit, self.folder = name, words, limit, folder
        self.scenarios = scenarios
        self.results = {}
        self.over = set()  # scenarios
        self.tries = 0
        self.start()

    def start(self):
        self.tries += 1
        only = [word for name in self.scenarios if name not in self.over for word in ("--only", name)]
        self.process = harness.Process(
            [*self.words, *only], self.folder, f"linux-{self.name}-{self.tries}",
            env={"VIREO_BUILD": str(harness.BUILD), "PYTHONDONTWRITEBYTECODE": "1"})
        self.end = time.monotonic() + self.limit
        self.offset = 0

    def lab_failed(self):
        return self.process.process.poll() == LAB_FAILED

    def start_again(self):
        """True if the lab failed and there is another try."""
        if not self.lab_failed() or self.tries == TRIES:
            return False
        self.warn(f"the lab failed in group {self.name}, which is run again: "
                  f"{self.process.errors.strip().splitlines()[:1]}")
        self.results = {key: value for key, value in self.results.items() if key[0] in self.over}
        self.start()
        return True

    @staticmethod
    def warn(text):
        warnings.warn(text)

    def take(self, value):
        scenario = value["scenario"]
        if "result" in value:
            self.results[scenario, value["result"]] = value
        elif "again" in value:
            self.warn(f"{scenario} was run again: {value['again']}")
        elif "check" not in value:  # which only says how far it is
            self.over.add(scenario)

    def read(self):
        """Takes what is new. True when there is no more to come."""
        ended = not self.process.running()
        with open(self.process.output_path, "rb") as file:
            file.seek(self.offset)
            data = file.read()
        lines = data[:data.rfind(b"\n") + 1]
        self.offset += len(lines)
        for line in lines.splitlines():
            try:
                self.take(json.loads(line))
            except ValueError:
                continue
        return ended

    def found(self, scenario, result, ended):
        """The result, if it is there and will not change any more: it may, as long as its scenario is not over."""
        value = self.results.get((scenario, result)) or self.results.get((scenario, None))
        if not value or scenario in self.over:
            return value
        return value if ended and not (self.lab_failed() and self.tries < TRIES) else None

    def result(self, scenario, result, meanwhile=lambda: None):
        while True:
            meanwhile()
            ended = self.read()
            value = self.found(scenario, result, ended)
            if value:
                return value
            if ended and self.start_again():
                continue
            if ended:
                raise self.process.failure(f"gave no result '{result}' of {scenario}")
            if time.monotonic() > self.end:
                raise self.process.failure("is still running")
            time.sleep(0.1)


class Groups:
    """The groups of these scenarios, AT_ONCE of them at any time."""

    def __init__(self, host, scenarios):
        self.direct = can_run_linux(host)
        self.scenarios = scenarios
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vireo-linux-"))
        self.groups = {}
        self.problem = None

    def words(self, name, mem, smp, limit):
        """The command of a group, inside the lab unless this host's KVM does."""
        guests = harness.BUILD / "vm-guests"
        suite = [sys.executable, pathlib.Path(__file__).with_name("lab_suite.py"), name, guests]
        if self.direct:
            return suite
        return [LAB / "run", "--build", harness.BUILD, "--kernel", KERNELS.get(name, "bookworm"), "--mem", mem,
                "--smp", smp, "--timeout", limit, "--env", "VIREO_BUILD", "--env", "VIREO_LAB_FULL", "--env",
                "PYTHONDONTWRITEBYTECODE", "--", *suite]

    def start(self):
        """Starts the next groups, as far as they may run beside those that do."""
        running = sum(group.process.running() for group in self.groups.values())
        for name, (mem, smp, limit) in GROUPS.items():
            scenarios = [scenario for scenario in self.scenarios if lab_suite.SCENARIOS[scenario][0] == name]
            if not scenarios or name in self.groups:
                continue
            if running >= AT_ONCE:
                break
            limit *= 10 if lab_context.FULL else 1
            self.groups[name] = Group(name, self.words(name, mem, smp, limit), limit, self.folder, scenarios)
            running += 1

    def result(self, scenario, result):
        if not self.groups and self.problem is None:
            self.problem = why_unable(self.direct) or ""
            if not self.problem:
                make_guests(harness.BUILD / "vm-guests")
        if self.problem:
            raise Unable(self.problem)
        name = lab_suite.SCENARIOS[scenario][0]
        self.start()
        while name not in self.groups:
            time.sleep(0.1)
            self.start()
        return self.groups[name].result(scenario, result, self.start)

    def close(self):
        for group in self.groups.values():
            group.process.close()
        shutil.rmtree(self.folder, ignore_errors=True)
