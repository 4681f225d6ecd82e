"""Fixtures of the tests that run VMs. VIREO_BUILD names the build folder (default: build)."""
import json
import os
import signal
import subprocess

import pytest

import harness
import linux_groups


def pytest_configure(config):
    # Who runs the tests in the background may ignore these, and what they start would do so, too.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    if not harness.VIREO.exists():
        raise pytest.UsageError(f"{harness.VIREO} is not there: build first, or set VIREO_BUILD")


@pytest.fixture(scope="session")
def host():
    """What `vireo probe` says about this host, or None where it has no KVM for us."""
    done = subprocess.run([harness.VIREO, "probe", "--json"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


@pytest.fixture
def kvm(host):
    """For tests that run the built-in guest here."""
    if not host:
        pytest.skip("this host has no /dev/kvm that can be used")
    return host


@pytest.fixture
def folder(tmp_path):
    """A folder with a short name: a socket's path may have 107 characters."""
    return tmp_path


@pytest.fixture
def ns(kvm):
    """A network namespace with the TAP t0 in it."""
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        pytest.skip("this host has no /dev/net/tun that can be used")
    try:
        namespace = harness.Namespace()
    except harness.Failure as error:
        pytest.skip(f"this host allows no network namespace: {error}")
    try:
        namespace.tap()
        yield namespace
    finally:
        namespace.close()


@pytest.fixture
def start(folder):
    """Starts VMs that end with the test: start(*args, ns=None, ...)."""
    running = []

    def start_one(*args, **more):
        vm = harness.Vireo(folder, *args, name=f"vireo{len(running) or ''}", **more)
        running.append(vm)
        return vm
    yield start_one
    for vm in running:
        vm.close()


@pytest.fixture
def guest(start):
    """Runs the built-in guest to its end: guest(TESTS, *args, status=0); returns the VM."""
    def run(tests, *args, status=0, timeout=60.0, **more):
        vm = start(*harness.guest_args(tests), *args, **more)
        vm.wait(timeout, status)
        if status == 0:
            harness.all_passed(vm)
        return vm
    return run


@pytest.fixture
def peer(ns, folder):
    """Starts the host's end of traffic on t0: peer(MODE, *args)."""
    running = []

    def start_one(mode, *args, interface="t0"):
        name = f"peer{len(running) or ''}"
        running.append(harness.Peer(ns, folder, interface, mode, *args, name=name))
        return running[-1]
    yield start_one
    for process in running:
        process.close()


@pytest.fixture
def disk(folder):
    """An empty image of 64 MiB."""
    path = folder / "disk.img"
    with open(path, "wb") as file:
        file.truncate(64 << 20)
    return path


@pytest.fixture(scope="session")
def linux(host, request):
    """Results of lab_suite.py: linux(SCENARIO, RESULT)."""
    wanted = [item.callspec.params["scenario"] for item in request.session.items if "linux" in item.fixturenames]
    groups = linux_groups.Groups(host, list(dict.fromkeys(wanted)))

    def result(scenario, name):
        try:
            return groups.result(scenario, name)
        except linux_groups.Unable as reason:
            pytest.skip(str(reason))
    yield result
    groups.close()
