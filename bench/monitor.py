"""One monitor, vireo or QEMU, with the built-in guest; and the host's side of its network."""
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import time

TAP = "vireobench0"
RAM_MIB = 256
TIMEOUT = 60
PROMPT = b"(qemu) "
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class Monitor:
    """One run of vireo or QEMU with the built-in guest; sampled as its lines come in.

    device: words of -device, netdev= left out; None: no network at all. words: more of the command line.
    """

    def __init__(self, bench, kind, test, device="virtio-net-pci", words=()):
        self.kind = kind
        self.folder = tempfile.TemporaryDirectory(prefix="vireo-bench-")
        self.path = f"{self.folder.name}/monitor"
        self.socket = None
        common = ["-m", str(RAM_MIB), "-nodefaults", "-display", "none", "-serial", "stdio",
                  "-monitor", f"unix:{self.path},server=on,wait=off", "-append", test + " end=halt"]
        common += words
        if device:
            common += ["-netdev", f"tap,id=n0,ifname={TAP},script=no,downscript=no",
                       "-device", f"{device},netdev=n0,romfile="]  # no boot from it: QEMU would try
        if kind == "vireo":
            words = [bench.build / "vireo", "-kernel", "builtin:"]
        else:
            words = ["qemu-system-x86_64", "-accel", "kvm", "-cpu", bench.qemu_cpu, "-M", "pc",
                     "-name", "bench,debug-threads=on", "-kernel",
                     bench.build / "guest" / "guest.elf"]
        self.begin = time.monotonic_ns()
        self.process = subprocess.Popen([str(w) for w in words] + common, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)

    def first_byte_ms(self):
        if not self.process.stdout.read(1):
            self.fail("no output")
        return (time.monotonic_ns() - self.begin) / 1e6

    def fail(self, what):
        self.process.kill()
        error = self.process.stderr.read().decode(errors="replace")
        raise RuntimeError(f"{self.kind}: {what}: {error.strip()[-500:]}")

    def line(self, pattern):
        """The fields of the next line that matches."""
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end:
            text = self.process.stdout.readline().decode(errors="replace")
            if not text:
                self.fail(f"ended before '{pattern}'")
            if re.search(pattern, text):
                return dict(re.findall(r"(\S+?)=(\S+)", text))
        self.fail(f"no '{pattern}' in {TIMEOUT} s")
        return None

    def threads(self):
        """(is it a vCPU's, ns on a CPU, ns of it in the guest) of every thread. The last is counted in clock ticks."""
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            vcpu = re.match(r"vcpu\d|CPU \d+/KVM", (task / "comm").read_text())
            fields = (task / "stat").read_text().rpartition(")")[2].split()
            yield bool(vcpu), int((task / "schedstat").read_text().split()[0]), \
                int(fields[40]) * TICK_NS

    def cpu_ns(self):
        """Time on a CPU of every thread that is no vCPU."""
        return sum(ns for vcpu, ns, _ in self.threads() if not vcpu)

    def cpu_outside_ns(self):
        """Time on a CPU of every thread, the guest's own left out: what the monitor and the kernel do for it."""
        return sum(ns - guest for _, ns, guest in self.threads())

    def exits(self):
        """Returns from the guest to the monitor so far; None where it doesn't say."""
        if self.kind == "vireo":
            return sum(int(n) for n in re.findall(r"^\s*exits: (\d+)", self.ask("info io"), re.MULTILINE))
        found = re.findall(r"(?:mmio|io)_exits \(cumulative\): (\d+)", self.ask("info stats vcpu"))
        return sum(int(n) for n in found) if found else None

    def ask(self, command):
        """What the monitor's own monitor answers."""
        if not self.socket:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(TIMEOUT)
            self.socket.connect(self.path)
            self.read_prompt()
        self.socket.sendall(command.encode() + b"\n")
        return self.read_prompt()

    def read_prompt(self):
        data = b""
        while not data.endswith(PROMPT):
            more = self.socket.recv(65536)
            if not more:
                self.fail("its monitor is gone")
            data += more
        return data.decode(errors="replace").replace("\r", "")

    def private_dirty_kib(self):
        """Private dirty pages of everything but guest RAM."""
        total, ram = 0, False
        for text in pathlib.Path(f"/proc/{self.process.pid}/smaps").read_text().splitlines():
            head = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", text)
            if head:
                size = int(head[2], 16) - int(head[1], 16)
                ram = size >= (RAM_MIB - 1) << 20 or "vireo-ram" in text
            elif text.startswith("Private_Dirty:") and not ram:
                total += int(text.split()[1])
        return total

    def end(self):
        if self.socket:
            self.socket.close()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()
        self.folder.cleanup()


def start_peer(bench, *words):
    """tools/peer on the TAP."""
    return subprocess.Popen([str(bench.build / "tools" / "peer"), TAP, *map(str, words)],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def reflect(on):
    """Has the kernel send every frame that comes out of the TAP back into it, or not any more."""
    def tc(*words):
        return subprocess.run(["tc", *words], stderr=subprocess.DEVNULL, check=False).returncode == 0

    if not on:
        return tc("qdisc", "del", "dev", TAP, "clsact")
    return tc("qdisc", "add", "dev", TAP, "clsact") and \
        tc("filter", "add", "dev", TAP, "ingress", "protocol", "all", "u32", "match", "u32", "0", "0",
           "action", "mirred", "egress", "redirect", "dev", TAP)
