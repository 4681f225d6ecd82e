"""Runs lab_suite.py, one process per group of scenarios: in the lab, or on this host's KVM if that can.

Groups are started when the first of their results is asked for; all groups at once, as far as this
host has processors for them. A scenario's results are there when its group comes to them.
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
import lab_suite

LAB = harness.ROOT / "lab"
GUEST_MODULES = ("button", "evdev")
SUITES = ("bookworm", "trixie")
# Per group: MiB of the lab's machine, seconds until it is ended. A guest of 5 GiB needs its room.
GROUPS = {"a": (2560, 900), "b": (2560, 900), "large": (7168, 400)}
AT_ONCE = 2
TRIES = 2
LAB_FAILED = 125  # lab/run's status for its own failure


class Unable(Exception):
    """Why this host can run no Linux guest at all."""


def can_run_linux(host):
    return bool(host) and host.get("verdict") == "ordinary"


def make_guests(folder, suites=SUITES):
    """Kernels and initrds under the names that lab_suite.py knows."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as tree:
        checks = pathlib.Path(tree) / "checks"
        shutil.copy(pathlib.Path(__file__).with_name("linux_checks.sh"), checks)
        checks.chmod(0o755)
        for suite in suites:
            done = subprocess.run([LAB / "kernel", "--build", harness.BUILD, suite], text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
            if done.returncode:
                raise harness.Failure(f"lab/kernel {suite}: {done.stderr.strip()}")
            kernel = pathlib.Path(done.stdout.strip())
            for image in ("vmlinuz", "vmlinux"):
                link = folder / f"{suite}.{image}"
                link.unlink(missing_ok=True)
                link.symlink_to(kernel / image)
            modules = [word for name in GUEST_MODULES for word in ("--module", name)]
            done = subprocess.run([LAB / "guest-initrd", "--add", tree, *modules, kernel,
                                   folder / f"{suite}.cpio"], text=True, stderr=subprocess.PIPE,
                                  check=False)
            if done.returncode:
                raise harness.Failure(f"lab/guest-initrd: {done.stderr.strip()}")


def why_unable(direct):
    """Why Linux guests can't run here, or None. DIRECT: on this host's own KVM."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    programs = ["iperf3", "busybox", "ethtool", "lspci"]
    if not direct:
        programs.append("qemu-system-x86_64")
    missing = [name for name in programs if not shutil.which(name, path=path)]
    return f"the lab and its guests need {', '.join(missing)}" if missing else None


class Group:
    """One run of lab_suite.py.

    Where the lab itself fails (L1 hangs or panics: seen now and then, cause unknown), it is run once
    more, with a warning that says so. What a guest or vireo does wrong is final.
    """

    def __init__(self, name, words, limit, folder):
        self.name, self.words, self.limit, self.folder = name, words, limit, folder
        self.results = {}
        self.tries = 0
        self.start()

    def start(self):
        self.tries += 1
        self.process = harness.Process(
            self.words, self.folder, f"linux-{self.name}-{self.tries}",
            env={"VIREO_BUILD": str(harness.BUILD), "PYTHONDONTWRITEBYTECODE": "1"})
        self.end = time.monotonic() + self.limit
        self.offset = 0

    def start_again(self):
        """True if the lab failed and there is another try."""
        if self.process.process.poll() != LAB_FAILED or self.tries == TRIES:
            return False
        warnings.warn(f"the lab failed in group {self.name}, which is run again: "
                      f"{harness.tail(self.process.errors, 5)}")
        self.start()
        return True

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
                value = json.loads(line)
            except ValueError:
                continue
            if "result" in value:
                self.results[value["scenario"], value["result"]] = value
        return ended

    def result(self, scenario, result):
        while True:
            ended = self.read()
            found = (self.results.get((scenario, result)) or self.results.get((scenario, None)))
            if found:
                return found
            if ended and self.start_again():
                continue
            if ended:
                raise self.process.failure(f"gave no result '{result}' of {scenario}")
            if time.monotonic() > self.end:
                raise self.process.failure("is still running")
            time.sleep(0.1)


class Groups:
    def __init__(self, host):
        self.direct = can_run_linux(host)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vireo-linux-"))
        self.groups = {}
        self.problem = None

    def words(self, name, mem, limit):
        """The command of a group, inside the lab unless this host's KVM does."""
        guests = harness.BUILD / "vm-guests"
        suite = [sys.executable, pathlib.Path(__file__).with_name("lab_suite.py"), name, guests]
        if self.direct:
            return suite
        return [LAB / "run", "--build", harness.BUILD, "--mem", mem, "--timeout", limit,
                "--env", "VIREO_BUILD", "--env", "PYTHONDONTWRITEBYTECODE", "--", *suite]

    def start(self, wanted):
        """Starts the wanted group, and as many after it as may run beside it."""
        running = sum(group.process.running() for group in self.groups.values())
        for name, (mem, limit) in GROUPS.items():
            if name in self.groups or (running >= AT_ONCE and name != wanted):
                continue
            self.groups[name] = Group(name, self.words(name, mem, limit), limit, self.folder)
            running += 1

    def result(self, scenario, result):
        if not self.groups and self.problem is None:
            self.problem = why_unable(self.direct) or ""
            if not self.problem:
                make_guests(harness.BUILD / "vm-guests")
        if self.problem:
            raise Unable(self.problem)
        name = lab_suite.SCENARIOS[scenario][0]
        self.start(name)
        return self.groups[name].result(scenario, result)

    def close(self):
        for group in self.groups.values():
            group.process.close()
        shutil.rmtree(self.folder, ignore_errors=True)
