"""Running a VM: how it ends, the monitor, serial ports, the terminal, signals."""
import os
import pty
import re
import select
import signal
import socket
import subprocess
import termios
import time

import pytest

import harness

pytestmark = pytest.mark.usefixtures("kvm")


# ---- how it ends ----

def test_hello(guest):
    vm = guest("hello")
    assert "vireo-guest: command-line hello" in vm.output
    assert re.search(r"pci at=00:00\.0 id=8086:1237", vm.output)
    assert re.search(r"pci at=00:01\.3 id=8086:7113", vm.output)


def test_power_off(guest):
    guest("hello end=poweroff")


@pytest.mark.parametrize("value", [0, 1, 5, 42])
def test_debug_exit(guest, value):
    vm = guest(f"hello end=exit exit-code={value}", "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
               status=value << 1 | 1)
    assert "done passed=1 failed=0" in vm.output


def test_debug_exit_elsewhere(guest):
    """By itself the guest tries the debug exit where it usually is; it isn't there."""
    guest("hello", "-device", "isa-debug-exit,iobase=0x501", status=0)


@pytest.mark.parametrize("end", ["reboot", "triple-fault"])
def test_reboot_in_place(start, end):
    vm = start(*harness.guest_args(f"hello end={end}"))
    for n in range(1, 11):
        harness.wait_until(lambda n=n: vm.output.count("vireo-guest: ready") >= n, f"boot {n}", 20)
    assert vm.running()


@pytest.mark.parametrize("end", ["reboot", "triple-fault"])
def test_no_reboot(guest, end):
    vm = guest(f"hello end={end}", "-no-reboot")
    assert vm.output.count("vireo-guest: ready") == 1
    assert ("vCPU 0: triple fault" in vm.errors) == (end == "triple-fault"), "it says what nobody asked for"


def test_no_shutdown(start):
    vm = start(*harness.guest_args("hello"), "-no-shutdown")
    harness.wait_until(lambda: vm.monitor.status() == "paused (shutdown)", "shutdown")
    vm.monitor.command("system_reset")
    vm.monitor.command("cont")
    harness.wait_until(lambda: vm.output.count("done passed=1") == 2, "the second run")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_end_it(start, number):
    vm = start(*harness.guest_args("hello end=halt"))
    vm.wait_for("done passed=1")
    os.kill(vm.pid, number)
    vm.wait(10, 0)
    assert not vm.monitor_path.exists(), "the monitor's socket is left"


# ---- memory and processors ----

@pytest.mark.parametrize("memory,low,high", [("64", 64 << 20, 0), ("1G", 1 << 30, 0),
                                             ("5G", 3 << 30, 2 << 30)])
def test_memory(guest, memory, low, high):
    vm = guest("hello", "-m", memory)
    ready = harness.pairs(re.search("vireo-guest: ready.*", vm.output)[0])
    assert int(ready["ram_low"]) == low
    assert int(ready["ram_high"]) == (high and (4 << 30) + high)


def test_mem_path_and_prealloc(guest):
    guest("hello", "-m", "64", "-mem-path", "/dev/shm", "-mem-prealloc")


@pytest.mark.parametrize("smp", ["2", "4,sockets=2,cores=2", "2,sockets=1,cores=1,threads=2"])
def test_smp(guest, smp):
    guest("hello", "-smp", smp)


# ---- the options that scripts pass ----

def test_options_of_scripts(guest, folder):
    vm = guest("hello", "-enable-kvm", "-M", "pc,accel=kvm,usb=off", "-accel", "kvm", "-cpu", "host", "-smp", "1",
               "-m", "128", "-name", "guest=a-name,process=a-name", "-uuid",
               "01234567-89ab-cdef-0123-456789abcdef", "-no-user-config", "-rtc", "base=utc",
               "-no-reboot", "-parallel", "none", "-vga", "none", "-pidfile", folder / "pid")
    assert not (folder / "pid").exists()
    assert "done passed=1" in vm.output


def test_paused_at_start(start):
    vm = start(*harness.guest_args("hello"), "-S", "-no-shutdown")
    assert vm.monitor.status() == "paused (prelaunch)"
    time.sleep(0.1)
    assert vm.output == ""
    vm.monitor.command("cont")
    vm.wait_for("done passed=1")


def test_daemonize(start, folder):
    pidfile, console, mon = folder / "pid", folder / "console", folder / "mon"
    vm = start("-nodefaults", "-display", "none", "-daemonize", "-pidfile", pidfile,
               "-serial", f"file:{console}", "-monitor", f"unix:{mon},server=on,wait=off",
               *harness.guest_args("hello end=halt"), base=())
    vm.wait(20, 0)
    pid = int(pidfile.read_text())
    try:
        harness.wait_until(lambda: "done passed=1" in console.read_text(), "the guest's end")
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(mon))
            s.sendall(b"quit\n")
            harness.wait_until(lambda: not pidfile.exists(), "its end, and the pid file's")
        harness.wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "the process's end")
    finally:
        if os.path.exists(f"/proc/{pid}"):
            os.kill(pid, signal.SIGKILL)


def test_daemonize_says_errors(start, folder):
    vm = start("-nodefaults", "-display", "none", "-daemonize", "-pidfile", folder / "pid",
               "-kernel", "/nowhere/vmlinuz", base=())
    vm.wait(20, 1)
    assert vm.errors.count("\n") == 1 and "/nowhere/vmlinuz" in vm.errors
    assert not (folder / "pid").exists()


# ---- the monitor ----

def test_monitor_commands(start):
    vm = start(*harness.guest_args("hello end=halt"), "-device", "virtio-rng-pci,id=rng0,addr=0x5")
    vm.wait_for("done passed=1")
    monitor = vm.monitor
    text = monitor.command("help")
    for word in ("quit", "stop", "cont", "system_powerdown", "system_reset", "set_link", "info status",
                 "info network", "info pci", "info io"):
        assert word in text
    assert monitor.status() == "running"
    monitor.command("stop")
    assert monitor.status() == "paused"
    monitor.command("cont")
    assert re.search(r'^00:05\.0 00ff: 1af4:1005 id "rng0"', monitor.command("info pci"), re.MULTILINE)
    assert "vcpu 0" in monitor.command("info io")
    monitor.command("info network")
    assert monitor.command("info nonsense").startswith("unknown command")
    assert "nothing" in monitor.command("set_link nothing on")
    assert monitor.command("set_link rng0").startswith("Error")
    assert monitor.command("set_link a b").startswith("Error")
    assert monitor.command("") == ""
    assert vm.running()


def test_monitor_twice(start):
    """One after the other; what the first left half typed is not the second's."""
    vm = start(*harness.guest_args("hello end=halt"))
    vm.monitor.socket.sendall(b"qui")
    vm.monitor.close()
    second = harness.Monitor(vm)
    assert second.status() == "running"
    second.close()


def test_monitor_reset(start):
    vm = start(*harness.guest_args("hello end=halt"))
    for n in range(1, 6):
        harness.wait_until(lambda n=n: vm.output.count("done passed=1") == n, f"run {n}")
        vm.monitor.command("system_reset")


# ---- serial ports ----

def test_serial_file(start, folder):
    vm = start("-nodefaults", "-display", "none", "-serial", f"file:{folder}/serial",
               *harness.guest_args("hello"), base=())
    vm.wait(20, 0)
    assert "done passed=1" in (folder / "serial").read_text()
    assert vm.output == ""


def test_serial_unix_wait(start, folder):
    """wait=on: nothing runs before somebody is there."""
    path = folder / "serial"
    vm = start("-nodefaults", "-display", "none", "-serial", f"unix:{path},server=on,wait=on",
               *harness.guest_args("hello"), base=())
    harness.wait_until(path.exists, "the socket")
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20)
        s.connect(str(path))
        text = b""
        while more := s.recv(4096):
            text += more
    vm.wait(20, 0)
    assert b"vireo-guest: alive" in text and b"done passed=1" in text


def test_serial_pty(start):
    vm = start(*harness.guest_args("hello"), "-S", base=(
        "-nodefaults", "-display", "none", "-serial", "pty", "-monitor", "stdio"), stdin=subprocess.PIPE)
    path = harness.wait_until(lambda: re.search(r"/dev/pts/\d+", vm.output + vm.errors), "the pty's name")
    fd = os.open(path[0], os.O_RDWR | os.O_NOCTTY)
    try:
        vm.process.stdin.write(b"cont\n")
        vm.process.stdin.flush()
        text = b""
        while b"done passed=1" not in text:
            assert select.select([fd], [], [], 20)[0], text
            text += os.read(fd, 4096)
    finally:
        os.close(fd)
    vm.wait(10, 0)


def test_serial_chardev(start, folder):
    vm = start("-nodefaults", "-display", "none", "-chardev", f"file,id=c0,path={folder}/serial",
               "-serial", "chardev:c0", *harness.guest_args("hello"), base=())
    vm.wait(20, 0)
    assert "done passed=1" in (folder / "serial").read_text()


def test_serial_null_and_two_ports(start, folder):
    vm = start("-nodefaults", "-display", "none", "-serial", "null", "-serial", f"file:{folder}/second",
               *harness.guest_args("hello"), base=())
    vm.wait(20, 0)
    assert (folder / "second").read_text() == ""


# ---- the terminal ----

class Terminal:
    """vireo on a terminal of its own."""

    def __init__(self, *args):
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.text = ""
        words = [harness.VIREO, *map(str, args)]
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.setsid()
                harness.die_with_parent()
                for fd in range(3):
                    os.dup2(self.slave, fd)
                os.close(self.master)
                os.execv(words[0], words)
            finally:
                os._exit(127)

    def read(self, timeout=0.05):
        while select.select([self.master], [], [], timeout)[0]:
            try:
                self.text += os.read(self.master, 4096).decode(errors="replace").replace("\r", "")
            except OSError:
                return
            timeout = 0

    def wait_for(self, text):
        def found():
            self.read()
            return text in self.text
        try:
            harness.wait_until(found, text, 20)
        except harness.Failure:
            raise harness.Failure(f"no '{text}' on the terminal:\n{harness.tail(self.text)}") from None

    def type(self, keys):
        os.write(self.master, keys)

    def wait(self):
        status = None

        def poll():
            nonlocal status
            self.read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            return pid
        harness.wait_until(poll, "vireo's end", 20)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def restored(self):
        return termios.tcgetattr(self.slave) == self.before

    def close(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal():
    running = []

    def start_one(*args):
        running.append(Terminal(*args))
        return running[-1]
    yield start_one
    for one in running:
        one.close()


NOGRAPHIC = ("-nographic", "-no-user-config")


def test_keys(terminal):
    """Ctrl-a h, c, x on -nographic."""
    t = terminal(*NOGRAPHIC, *harness.guest_args("hello end=halt"))
    t.wait_for("done passed=1")
    assert not t.restored(), "a console is raw"
    t.type(b"\x01h")
    t.wait_for("Ctrl-a x")
    t.type(b"\x01c")
    t.wait_for(harness.PROMPT)
    t.type(b"info status\r")
    t.wait_for("VM status: running")
    t.type(b"\x01x")
    assert t.wait() == 0
    assert t.restored()


@pytest.mark.parametrize("end,status", [("poweroff", 0), ("exit", 3)])
def test_terminal_given_back(terminal, end, status):
    t = terminal(*NOGRAPHIC, "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
                 *harness.guest_args(f"hello end={end} exit-code=1"))
    assert t.wait() == status
    assert t.restored()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_terminal_given_back_after_signal(terminal, number):
    t = terminal(*NOGRAPHIC, *harness.guest_args("hello end=halt"))
    t.wait_for("done passed=1")
    os.kill(t.pid, number)
    assert t.wait() == 0
    assert t.restored()


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV, signal.SIGQUIT])
def test_terminal_given_back_after_crash(terminal, number):
    t = terminal(*NOGRAPHIC, *harness.guest_args("hello end=halt"))
    t.wait_for("done passed=1")
    os.kill(t.pid, number)
    assert t.wait() != 0
    assert t.restored()


def test_terminal_given_back_after_error(terminal):
    t = terminal(*NOGRAPHIC, *harness.guest_args("hello"), "-device", "virtio-net-pci,addr=0x1")
    assert t.wait() == 1
    assert t.restored()


def test_quit_gives_terminal_back(terminal):
    t = terminal("-nodefaults", "-display", "none", "-monitor", "stdio", *harness.guest_args("hello end=halt"))
    t.wait_for(harness.PROMPT)
    t.type(b"quit\r")
    assert t.wait() == 0
    assert t.restored()


def test_suspended_monitor_keeps_the_guest(terminal):
    """Nobody reads the terminal: the guest goes on."""
    t = terminal("-nodefaults", "-display", "none", "-serial", "stdio",
                 *harness.guest_args("hello " * 60 + "end=poweroff"))
    t.wait_for("vireo-guest: alive")
    time.sleep(0.5)
    assert t.wait() == 0
