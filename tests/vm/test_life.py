"""What a VM may be told in each of its states, and what vireo does about the process around it: descriptors, signals, files."""
import os
import signal
import socket
import subprocess

import pytest

import harness

QUIET = ("-nodefaults", "-display", "none", "-serial", "null")
GUEST = harness.guest_args("hello end=halt")


def words_of(*args):
    return [str(word) for word in (harness.VIREO, *args)]


# ---- states ----

def paused(start):
    vm = start(*GUEST)
    vm.monitor.command("stop")
    return vm


def prelaunch(start):
    return start(*GUEST, "-S")


def running(start):
    return start(*GUEST)


def shut_down(start):
    vm = start(*harness.guest_args("hello"), "-no-shutdown")
    harness.wait_until(lambda: vm.monitor.status() == "paused (shutdown)", "the guest's end")
    return vm


STATES = {"running": running, "paused": paused, "paused (prelaunch)": prelaunch, "paused (shutdown)": shut_down}
AFTER = {  # the status after a command
    "system_reset": {"paused (shutdown)": "paused"},
    "stop": {"running": "paused"},
    "cont": {"paused": "running", "paused (prelaunch)": "running"},
    "system_powerdown": {},
}


@pytest.mark.parametrize("command", AFTER)
@pytest.mark.parametrize("state", STATES)
def test_command_in_state(kvm, start, state, command):
    vm = STATES[state](start)
    assert vm.monitor.status() == state
    answer = vm.monitor.command(command)
    assert answer == "" or (command == "cont" and state == "paused (shutdown)" and "system_reset" in answer)
    assert vm.monitor.status() == AFTER[command].get(state, state)
    vm.monitor.send("quit")
    vm.wait(20, 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("state", STATES)
def test_signal_in_state(kvm, start, state, number):
    vm = STATES[state](start)
    assert vm.monitor.status() == state
    vm.process.send_signal(number)
    vm.wait(20, 0)


def test_reset_storm(kvm, start):
    """The button is pressed faster than the guest starts; each press is a whole reset."""
    vm = start(*harness.guest_args("hello end=halt"), "-smp", "4", "-device", "virtio-rng-pci", "-device",
               "virtio-net-pci")
    for _ in range(30):
        vm.monitor.command("system_reset")
    for _ in range(10):
        vm.monitor.command("stop")
        vm.monitor.command("system_reset")
        vm.monitor.command("cont")
    seen = vm.output.count("done passed=1")
    vm.monitor.command("system_reset")
    harness.wait_until(lambda: vm.output.count("done passed=1") > seen, "the guest's run after the last one")
    assert vm.monitor.status() == "running"


def test_reset_of_a_guest_that_reboots(kvm, start):
    vm = start(*harness.guest_args("reboot count=200"), "-smp", "2", "-no-shutdown")
    for _ in range(20):
        vm.monitor.command("system_reset")
        vm.monitor.command("stop")
        vm.monitor.command("cont")
    assert "result=fail" not in vm.output


# ---- descriptors and files ----

def test_standard_descriptors_closed(kvm, folder):
    """What vireo opens must not become its standard output."""
    def close_them():
        harness.die_with_parent()
        os.closerange(0, 3)
    console = folder / "console"
    done = subprocess.run(words_of("-nodefaults", "-display", "none", "-serial", f"file:{console}",
                                   *harness.guest_args("hello")), preexec_fn=close_them, timeout=20, check=False)
    assert done.returncode == 0
    assert "done passed=1" in console.read_text()


def test_pidfile_of_somebody_else(kvm, folder):
    """A VM that isn't made leaves the file of one that runs alone."""
    path = folder / "pid"
    path.write_text("1\n")
    done = subprocess.run(words_of(*QUIET, "-pidfile", path, "-monitor", "chardev:c7", *GUEST), timeout=20,
                          stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1 and "c7" in done.stderr
    assert path.read_text() == "1\n"


def waiting(folder, *more):
    """vireo, that waits for somebody on its serial port."""
    path = folder / "serial"
    process = subprocess.Popen(words_of("-nodefaults", "-display", "none", *more, "-serial",
                                        f"unix:{path},server=on,wait=on", *GUEST), stderr=subprocess.PIPE, text=True,
                               preexec_fn=harness.die_with_parent)
    assert "waiting" in process.stderr.readline()
    return process, path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_while_waiting(kvm, folder, number):
    process, path = waiting(folder)
    process.send_signal(number)
    assert process.wait(20) == 1
    assert "-serial" in process.stderr.read()
    assert not path.exists()


def test_daemon_whose_parent_is_gone(kvm, folder):
    """Ctrl-C while -daemonize waits: the one in the background notices, and starts no guest."""
    process, path = waiting(folder, "-daemonize", "-pidfile", folder / "pid")
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 1
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(path))
        s.settimeout(20)
        assert s.recv(100) == b""
    harness.wait_until(lambda: not path.exists(), "its end")
    assert "-daemonize" in process.stderr.read()
    assert not (folder / "pid").exists()


# ---- memory in a file ----

def test_memory_file(kvm, guest, folder):
    """One that is long enough keeps its length and takes the guest's memory; one that isn't is refused."""
    path = folder / "ram"
    path.write_bytes(bytes(1 << 20))
    done = subprocess.run(words_of(*QUIET, "-m", "64", "-mem-path", path, *GUEST), timeout=20,
                          stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1 and "1 MiB" in done.stderr and "64" in done.stderr
    assert path.stat().st_size == 1 << 20
    os.truncate(path, 128 << 20)
    guest("hello", "-m", "64", "-mem-path", path)
    assert path.stat().st_size == 128 << 20
    assert b"\x7fELF" not in path.read_bytes()[:16] and any(path.read_bytes()[:2 << 20])
