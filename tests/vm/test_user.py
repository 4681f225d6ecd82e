"""-netdev user, as an ordinary user with no capability: the built-in guest by DHCP, ARP, ICMP and UDP (net-ip); and
-object filter-dump, read by tcpdump. All in a network namespace of its own, with nothing but loopback in it."""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import pytest

import harness
from unprivileged import Unprivileged

HOST = pathlib.Path(__file__).with_name("ip_host.py")
# The guest's driver: the card.
CARDS = {"virtio-net": "virtio-net-pci", "rtl8139": "rtl8139,romfile=,cplus=off", "rtl8139c+": "rtl8139,romfile=",
         "e1000": "e1000,romfile="}


@pytest.fixture
def loopback(kvm):
    """A network namespace with nothing but lo."""
    try:
        namespace = harness.Namespace()
    except harness.Failure as error:
        pytest.skip(f"this host allows no network namespace: {error}")
    yield namespace
    namespace.close()


@pytest.fixture
def open_folder():
    """A folder where nobody may write, too."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="vireo-user-"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def echo(loopback, folder):
    """An echo of UDP on the host's loopback: its port."""
    with harness.Process([sys.executable, HOST, "echo", 0], folder, "echo", ns=loopback) as process:
        yield process.wait_for(r"ready (\d+)")[1]


@pytest.fixture
def run(loopback, open_folder):
    """Starts a VM as nobody: run(TESTS, *args)."""
    running = []

    def start(tests, *args, **more):
        more.setdefault("ns", Unprivileged(loopback))
        vm = harness.Vireo(open_folder, *harness.guest_args(tests), *args, name=f"vireo{len(running)}", **more)
        running.append(vm)
        return vm
    yield start
    for vm in running:
        vm.close()


def finish(vm):
    vm.wait(60, 0)
    harness.all_passed(vm)
    return vm.result("net-ip")


def user(card, options=""):
    return ("-netdev", f"user,id=n0{options}", "-device", f"{card},netdev=n0")


@pytest.mark.parametrize("name", CARDS)
@pytest.mark.parametrize("wait", ["irq=0", "irq=intx"])
def test_out_and_in(run, echo, loopback, folder, name, wait):
    vm = run(f"net-ip nic={name} port={echo} serve=30 {wait}",
             *user(CARDS[name], ",hostfwd=udp:127.0.0.1:4000-:7"))
    vm.wait_for("serving port=7")
    with harness.Process([sys.executable, HOST, "ask", 4000, 30], folder, "ask", ns=loopback) as ask:
        ask.wait(40, 0)
    found = finish(vm)
    assert (found["address"], found["router"], found["dns"]) == ("10.0.2.15", "10.0.2.2", "10.0.2.3")
    assert (found["round_trips"], found["bad"]) == ("200", "0")


@pytest.mark.parametrize("size", [1, 1472])
def test_sizes(run, echo, size):
    finish(run(f"net-ip port={echo} size={size}", *user("virtio-net-pci")))


def test_spellings(run, echo):
    """-nic and -net make the same."""
    finish(run(f"net-ip port={echo} nic=e1000", "-nic", "user"))
    finish(run(f"net-ip port={echo} nic=rtl8139", "-net", "nic", "-net", "user,hostfwd=udp::4001-:7"))
    found = finish(run(f"net-ip port={echo}", "-nic", "user,model=virtio,net=192.168.50.0/24,host=192.168.50.1,"
                       "dhcpstart=192.168.50.100,dns=192.168.50.2,hostfwd=tcp::4002-:22,hostfwd=udp::4002-:22"))
    assert (found["address"], found["router"], found["dns"]) == ("192.168.50.100", "192.168.50.1", "192.168.50.2")


def test_no_privileges(run, echo):
    vm = run(f"net-ip port={echo} end=halt", *user("virtio-net-pci"))
    vm.wait_for("done passed=1 failed=0")
    status = pathlib.Path(f"/proc/{vm.pid}/status").read_text(encoding="ascii")
    caps = dict(re.findall(r"^(Cap\w+|NoNewPrivs):\s+(\w+)$", status, re.MULTILINE))
    assert int(caps["CapEff"], 16) == int(caps["CapPrm"], 16) == 0
    assert caps["NoNewPrivs"] == "1"


def test_name_server(run, loopback, folder):
    """What goes to the guest's name server reaches the one in /etc/resolv.conf."""
    if loopback.user:
        pytest.skip("needs root, to put another file in the place of /etc/resolv.conf")
    resolv = folder / "resolv.conf"
    resolv.write_text("nameserver 127.0.0.1\n", encoding="ascii")
    with harness.Process([sys.executable, HOST, "echo", 53], folder, "names", ns=loopback) as names:
        names.wait_for("ready")
        finish(run("net-ip to=dns port=53 count=20 size=100", *user("virtio-net-pci"),
                   ns=Unprivileged(loopback, resolv)))


def test_restrict(run, echo):
    vm = run(f"net-ip port={echo} peer=2000", *user("virtio-net-pci", ",restrict=on"))
    vm.wait(60)
    assert (vm.result("net-ip")["reason"], vm.result("net-ip")["round_trips"]) == ("no-echo", "0")


def test_commands(run, echo, loopback, folder):
    vm = run(f"net-ip port={echo} serve=5", *user("virtio-net-pci"))
    vm.wait_for("serving port=7")
    assert vm.monitor.command("hostfwd_add udp:127.0.0.1:4000-:7") == ""
    assert "in use" in vm.monitor.command("hostfwd_add n0 udp:127.0.0.1:4000-:7")
    assert "UDP[HOST_FORWARD]" in vm.monitor.command("info usernet")
    assert "hostfwd: udp:127.0.0.1:4000-10.0.2.15:7" in vm.monitor.command("info network")
    with harness.Process([sys.executable, HOST, "ask", 4000, 5], folder, "ask", ns=loopback) as ask:
        ask.wait(40, 0)
    finish(vm)
    vm = run("hello end=halt", *user("virtio-net-pci", ",hostfwd=udp:127.0.0.1:4000-:7"))
    assert vm.monitor.command("hostfwd_remove n0 udp:127.0.0.1:4000") == ""
    assert "not forwarded" in vm.monitor.command("hostfwd_remove udp:127.0.0.1:4000")
    assert "no -netdev has the id 'n1' (there is: n0)" in vm.monitor.command("hostfwd_add n1 tcp::4001-:22")
    assert "HOST_FORWARD" not in vm.monitor.command("info usernet")


@pytest.mark.parametrize("name", ["virtio-net", "e1000"])
def test_idle(run, echo, name):
    """Nobody wakes up when nothing moves: not even by libslirp's time-out of a second. (UDP sockets have one of
    their own, half a second for four minutes, so there are none: no datagrams, but a listener.)"""
    vm = run(f"net-ip nic={name} port={echo} count=0 end=halt",
             *user(CARDS[name], ",hostfwd=udp:127.0.0.1:4000-:7"))
    vm.wait_for("done passed=1 failed=0")
    vm.monitor.counters()
    time.sleep(0.5)

    def wakeups():
        return {owner: counters["thread"]["wakeups"] for owner, counters in vm.monitor.counters().items()
                if "thread" in counters}
    before = wakeups()
    time.sleep(3)
    assert wakeups() == before


@pytest.mark.parametrize("options,words", [
    ("hostfwd=tcp:127.0.0.1:4000-:22,hostfwd=tcp:127.0.0.1:4000-:23", "TCP port 4000 of the host: Address already in use"),
    ("hostfwd=tcp:127.0.0.1:80-:80", "a user's ports begin at 1024"),
    ("hostfwd=tcp:4000-:22", "a rule is [tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport"),
    ("net=10.0.2.0/24,host=10.0.3.2", "is not in the guest's network"),
    ("hostfwrd=tcp::4000-:22", "did you mean 'hostfwd'?"),
])
def test_errors(run, loopback, options, words):
    if "1024" in words and loopback.user:
        pytest.skip("whoever made this namespace may bind to every port in it")
    vm = run("hello", *user("virtio-net-pci", f",{options}"))
    assert vm.wait(10) == 1
    assert words in vm.errors and len(vm.errors.splitlines()) == 1, vm.errors


# ---- filter-dump ----

def tcpdump(path, *words):
    if not shutil.which("tcpdump"):
        pytest.skip("tcpdump is not there")
    done = subprocess.run(["tcpdump", "-nr", path, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          check=False)
    assert done.returncode == 0 and "truncated" not in done.stderr, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", CARDS)
def test_dump(run, echo, open_folder, name):
    path = open_folder / "n0.pcap"
    vm = run(f"net-ip nic={name} port={echo} count=50", "-object", f"filter-dump,id=f0,netdev=n0,file={path}",
             *user(CARDS[name]))
    finish(vm)
    assert len(tcpdump(path, "udp", "port", echo)) == 100
    assert len(tcpdump(path, "icmp")) == 10
    assert len(tcpdump(path, "arp")) >= 2
    assert len(tcpdump(path, "udp", "port", "67")) == 4


def test_dump_while_it_runs(run, echo, open_folder):
    """The file is whole at any time, and cut frames say how long they were."""
    path = open_folder / "n0.pcap"
    vm = run(f"net-ip port={echo} count=50 end=halt", *user("virtio-net-pci"),
             "-object", f"filter-dump,id=f0,netdev=n0,file={path},maxlen=64")
    vm.wait_for("done passed=1 failed=0")
    lines = tcpdump(path, "udp", "port", echo)
    assert len(lines) == 100 and lines[0].endswith("UDP, length 1000")
    frames = vm.monitor.counters()["f0"]["dump"]
    assert (frames["frames"], frames["lost"]) == (len(tcpdump(path)), 0)


@pytest.mark.parametrize("options,words", [
    ("netdev=n1,file=x", "no -netdev has the id 'n1' (there is: n0)"),
    ("file=x", "needs netdev="),
    ("netdev=n0", "needs file="),
    ("netdev=n0,file=/nonexistent/x", "/nonexistent/x: No such file or directory"),
    ("netdev=n0,file=/dev/null", "is no ordinary file"),
    ("netdev=n0,file=x,maxlen=0", "out of range"),
])
def test_dump_errors(run, options, words):
    vm = run("hello", "-object", f"filter-dump,id=f0,{options}", *user("virtio-net-pci"))
    assert vm.wait(10) == 1
    assert words in vm.errors and len(vm.errors.splitlines()) == 1, vm.errors
