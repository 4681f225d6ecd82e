"""Drives vireo: network namespaces with TAPs, a running vireo and its monitor, the host's end of traffic.

Everything that is started ends with whoever started it: a killed test leaves no VM behind. Nothing
waits by sleeping for a time that ought to do: what is waited for is looked for every few
milliseconds, until a limit that is never reached unless something is wrong. A limit counts time in
which this process had its turns (Patience): what a machine stands still as a whole, or has no time
for it, as an emulated one may, isn't used up.
"""
import ctypes
import os
import pathlib
import re
import shlex
import signal
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("VIREO_BUILD") or ROOT / "build").resolve()
VIREO = BUILD / "vireo"
PEER = BUILD / "tools" / "peer"
IN_LAB = bool(os.environ.get("VIREO_LAB"))
SLOWNESS = 4 if IN_LAB else 1  # limits of time are multiplied by it: the lab is an emulator
POLL = 0.01
STEP = 5 * POLL  # what a look for something takes of a limit, at most
PROMPT = "(qemu) "
TAIL_LINES = 60
SANITIZERS = re.compile(r"Sanitizer:|: runtime error:")  # of a vireo that is built with one


class Failure(AssertionError):
    """What went wrong, with the end of what the VM said."""


class ProcessFailure(Failure):
    """A program, or what runs in it, did not come as far as was waited for."""


def die_with_parent():
    """Runs in the child before its program: SIGKILL when the thread that started it is gone."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


class Patience:
    """A limit of SECONDS, and as much more as this machine is slower."""

    def __init__(self, seconds):
        self.limit = seconds * SLOWNESS
        self.renew()

    def renew(self):
        self.left = self.limit
        self.looked = time.monotonic()

    def is_over(self):
        """To be asked after each look for what is waited for; waits until the next one."""
        now = time.monotonic()
        self.left -= min(now - self.looked, STEP)
        self.looked = now
        time.sleep(POLL)
        return self.left < 0


def wait_until(condition, what, timeout=10.0):
    """Waits until condition() is true, and returns what it returned."""
    patience = Patience(timeout)
    while True:
        value = condition()
        if value:
            return value
        if patience.is_over():
            raise Failure(f"not after {patience.limit:g} s: {what}")


def tail(text, lines=TAIL_LINES):
    return "\n".join("    " + line for line in text.splitlines()[-lines:])


def pairs(line):
    """The key=value words of a line as a dictionary."""
    return dict(word.split("=", 1) for word in line.split() if "=" in word)


class Namespace:
    """A network namespace of its own; it goes, and all its interfaces with it, on close().

    Who isn't root gets a user namespace as well, and is root in that.
    """

    def __init__(self):
        self.user = os.geteuid() != 0
        how = ["--map-root-user", "--net"] if self.user else ["--net"]
        self.holder = subprocess.Popen(["unshare", *how, "sh", "-c", "echo; exec cat"],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, preexec_fn=die_with_parent)
        if not self.holder.stdout.readline():
            error = self.holder.stderr.read().decode(errors="replace").strip()
            self.close()
            raise Failure(f"no network namespace: {error}")
        self.shell("echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6; ip link set lo up")

    def words(self, *words):
        """The command that runs these words in the namespace; its process keeps its id."""
        how = ["--user", "--preserve-credentials"] if self.user else []
        return ["nsenter", "--target", str(self.holder.pid), *how, "--net", "--",
                *(str(word) for word in words)]

    def run(self, *words, check=True):
        done = subprocess.run(self.words(*words), stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if check and done.returncode:
            raise Failure(f"{shlex.join(map(str, words))}: status {done.returncode}\n{done.stdout}")
        return done.stdout

    def shell(self, text):
        return self.run("sh", "-ec", text)

    def tap(self, name="t0", address=None, options="vnet_hdr"):
        """Makes a TAP that is up; ADDRESS with prefix length."""
        self.shell(f"ip tuntap add dev {name} mode tap {options}; ip link set {name} up")
        if address:
            self.run("ip", "address", "add", address, "dev", name)
        return name

    def close(self):
        for stream in (self.holder.stdin, self.holder.stdout, self.holder.stderr):
            stream.close()
        self.holder.kill()
        self.holder.wait()


class Process:
    """A program that runs; what it prints is in files, and can be looked at any time."""

    def __init__(self, words, folder, name, ns=None, stdin=subprocess.DEVNULL, env=None):
        self.name = name
        self.words = [str(word) for word in words]
        self.folder = pathlib.Path(folder)
        self.output_path = self.folder / f"{name}.out"
        self.errors_path = self.folder / f"{name}.err"
        with open(self.output_path, "wb") as out, open(self.errors_path, "wb") as err:
            self.process = subprocess.Popen(
                ns.words(*self.words) if ns else self.words, stdin=stdin, stdout=out, stderr=err,
                env={**os.environ, **(env or {})}, preexec_fn=die_with_parent)

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.close()

    @property
    def pid(self):
        return self.process.pid

    @property
    def output(self):
        """All that it printed, without carriage returns."""
        return self.output_path.read_bytes().decode(errors="replace").replace("\r", "")

    @property
    def errors(self):
        return self.errors_path.read_bytes().decode(errors="replace")

    def failure(self, what, more=""):
        """The most telling first, and the output's end last: a report may leave out the middle."""
        status = self.process.poll()
        return ProcessFailure(
            f"{self.name}: {what}\n"
            f"status: {'still running' if status is None else status}\n"
            f"its standard error:\n{tail(self.errors, 12)}\n{more}"
            f"command: {shlex.join(self.words)}\n"
            f"end of its output:\n{tail(self.output)}")

    def news(self):
        """Yields the output whenever there is more of it (the first time at once), else None. Once
        the program has ended, that is the last time."""
        size = -1
        while True:
            ended = not self.running()
            now = self.output_path.stat().st_size
            yield self.output if now != size else None
            size = now
            if ended:
                return

    def wait_for(self, pattern, timeout=20.0, start=0):
        """Waits for the regular expression in the output, from offset start on; returns the match."""
        patience = Patience(timeout)
        expression = re.compile(pattern, re.MULTILINE)
        for output in self.news():
            match = expression.search(output, start) if output is not None else None
            if match:
                return match
            if patience.is_over():
                raise self.failure(f"did not say '{pattern}' within {patience.limit:g} s")
        raise self.failure(f"ended without saying '{pattern}'")

    def wait(self, timeout=30.0, status=None):
        """Waits for the end; returns the exit status, which has to be STATUS if given."""
        patience = Patience(timeout)
        while self.running():
            if patience.is_over():
                raise self.failure(f"still running after {patience.limit:g} s")
        done = self.process.returncode
        if status is not None and done != status:
            raise self.failure(f"ended with status {done}, not {status}")
        return done

    def running(self):
        return self.process.poll() is None

    def close(self):
        if self.process.stdin:
            self.process.stdin.close()
        if self.running():
            self.process.kill()
        self.process.wait()


class Vireo(Process):
    """A running vireo, console on its standard output, monitor on a socket."""

    def __init__(self, folder, *args, ns=None, name="vireo", base=None, **more):
        folder = pathlib.Path(folder)
        self.monitor_path = folder / f"{name}.mon"
        if base is None:
            base = ("-nodefaults", "-display", "none", "-serial", "stdio",
                    "-monitor", f"unix:{self.monitor_path},server=on,wait=off")
        self._monitor = None
        self._asking = False
        super().__init__([VIREO, *base, *args], folder, name, ns=ns, **more)

    @property
    def monitor(self):
        if not self._monitor:
            self._monitor = Monitor(self)
        return self._monitor

    def results(self):
        """The result lines of the built-in guest, as dictionaries."""
        lines = re.findall(r"^vireo-guest: (test=\S+ result=.*)$", self.output, re.MULTILINE)
        return [pairs(line) for line in lines]

    def result(self, test, index=-1):
        """The last result of this test (or the INDEXth), which has to be there."""
        found = [result for result in self.results() if result["test"] == test]
        if not found:
            raise self.failure(f"no result of the test {test}")
        return found[index]

    def failure(self, what, more=""):
        """With what moves while the VM still runs: a stuck device shows in its counters."""
        if self.running() and self.monitor_path.exists() and not self._asking:
            self._asking = True
            try:
                more += self.movement()
            except (Failure, OSError) as error:
                more += f"its monitor does not answer: {str(error).splitlines()[0]}\n"
            self._asking = False
        return super().failure(what, more)

    def movement(self):
        """The counters and what a second adds to them, a line for each part of the VM."""
        before, ticks = flat(self.monitor.counters()), timer_interrupts()
        time.sleep(1)
        after = flat(self.monitor.counters())
        parts = {}
        for name, value in after.items():
            part, _, name = name.rpartition(" ")
            added = value - before.get(f"{part} {name}".strip(), 0)
            if value:
                parts.setdefault(part, []).append(f"{name} {value}" + (f" (+{added})" if added else ""))
        lines = [f"{part}: {', '.join(values)}" for part, values in parts.items()]
        ticks = [after - before for after, before in zip(timer_interrupts(), ticks)]
        return (f"status of the VM: {self.monitor.status()}; timer interrupts of the machine's first "
                f"processors meanwhile: {', '.join(map(str, ticks))}; its counters (+ in a second):\n"
                f"{tail(chr(10).join(lines))}\n")

    def close(self):
        if self._monitor:
            self._monitor.close()
        super().close()
        if SANITIZERS.search(self.errors):
            raise self.failure("a sanitizer has something to say")


class Monitor:
    """The text monitor of a running vireo."""

    def __init__(self, vm, path=None):
        self.vm = vm
        self.path = str(path or vm.monitor_path)
        self.socket = socket.socket(socket.AF_UNIX)
        wait_until(self.connect, f"a monitor on {self.path}")
        self.socket.settimeout(20 * SLOWNESS)
        self.greeting = self.read()

    def connect(self):
        if not self.vm.running():
            raise self.vm.failure("ended before its monitor was there")
        try:
            self.socket.connect(self.path)
            return True
        except OSError:
            return False

    def read(self):
        data = b""
        while not data.endswith(PROMPT.encode()):
            try:
                more = self.socket.recv(65536)
            except socket.timeout:
                raise self.vm.failure(f"its monitor said only: {data!r}") from None
            except ConnectionResetError:
                more = b""
            if not more:
                break
            data += more
        return data.decode(errors="replace").replace("\r", "")

    def send(self, line):
        self.socket.sendall(line.encode() + b"\n")

    def command(self, line):
        """The answer to a command, without echo and prompt; '' where there is nothing to say."""
        self.send(line)
        answer = self.read()
        if not answer.startswith(line + "\n"):
            raise self.vm.failure(f"its monitor did not echo '{line}': {answer!r}")
        return answer[len(line) + 1:].removesuffix(PROMPT)

    def counters(self):
        """`info io` as nested dictionaries of numbers."""
        return tree(self.command("info io"))

    def status(self):
        return self.command("info status").strip().removeprefix("VM status: ")

    def close(self):
        self.socket.close()


def tree(text):
    """Lines `name: value`, indented below `name:`, as nested dictionaries."""
    root = {}
    levels = [(-1, root)]
    for line in text.splitlines():
        name, _, value = line.strip().partition(":")
        depth = len(line) - len(line.lstrip())
        while levels[-1][0] >= depth:
            levels.pop()
        value = value.strip()
        if not value:
            levels[-1][1][name] = {}
            levels.append((depth, levels[-1][1][name]))
        else:
            levels[-1][1][name] = int(value) if value.lstrip("-").isdigit() else value
    return root


def flat(counters, prefix=""):
    """The numbers of nested dictionaries, by the names on the way to them."""
    found = {}
    for name, value in counters.items():
        if isinstance(value, dict):
            found.update(flat(value, f"{prefix}{name} "))
        elif isinstance(value, int):
            found[prefix + name] = value
    return found


def timer_interrupts(processors=8):
    """How many local timer interrupts each of this machine's first processors has had."""
    with open("/proc/interrupts", encoding="ascii", errors="replace") as file:
        match = re.search(r"^ *LOC:((?: +\d+)+)", file.read(), re.MULTILINE)
    return [int(n) for n in match[1].split()[:processors]] if match else []


def total(counters, name):
    """The sum of all counters of this name, wherever they are below COUNTERS."""
    value = counters.get(name, 0)
    value = value if isinstance(value, int) else 0
    return value + sum(total(below, name) for below in counters.values() if isinstance(below, dict))


def guest_args(tests):
    return ["-kernel", "builtin:", "-append", tests]


def all_passed(vm):
    """Raises unless the built-in guest came to its end with every test passed."""
    for result in vm.results():
        # A case of a test may not apply to a device or a transport; a test does.
        if result["result"] != "ok" and not (result["result"] == "skip" and "case" in result):
            raise vm.failure(" ".join(f"{name}={value}" for name, value in result.items()))
    if not re.search(r"^vireo-guest: done passed=[1-9]\d* failed=0$", vm.output, re.MULTILINE):
        raise vm.failure("did not end with every test passed")


class Peer(Process):
    """The host's end of the built-in guest's network tests (tools/peer.c)."""

    def __init__(self, ns, folder, interface, mode, *args, name="peer"):
        super().__init__([PEER, interface, mode, *args], folder, name, ns=ns)
        if mode != "source":
            self.wait_until_bound()

    def wait_until_bound(self):
        """A packet socket that isn't there yet loses the first frames."""
        def bound():
            if not self.running():
                return True
            with open(f"/proc/{self.pid}/net/packet", encoding="ascii") as file:
                return len(file.readlines()) > 1
        wait_until(bound, "peer's packet socket")

    def finish(self, timeout=40.0, ok=True):
        """Waits for the end; returns the numbers that it says."""
        self.wait(timeout)
        match = re.search(r"^peer: (.*)$", self.output, re.MULTILINE)
        if not match:
            raise self.failure("no result")
        result = pairs(match[1])
        drops = int(result.get("socket_drops", 0))
        if drops and int(result["lost"]) <= drops and result["bad"] == result["reordered"] == "0":
            # They had come: this socket's buffer was full, which is small for who isn't root. That all
            # others came is for the caller to check.
            result.update(result="ok", frames=str(int(result["frames"]) + drops))
        if ok and result["result"] != "ok":
            raise self.failure("result is not ok")
        return result
