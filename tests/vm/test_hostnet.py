"""The host's side of networks: bridges, MacVTaps, the helper for ordinary users; what becomes of a VM when the host
changes them, and what a VM leaves behind."""
import os
import pathlib
import shutil
import signal
import subprocess

import pytest

import harness

HELPER = harness.BUILD / "src" / "bridge_helper" / "test-bridge-helper"
LIST = HELPER.parent / "bridge.conf"  # of that helper, and no other
NOBODY = 65534
MACS = ("52:54:00:00:00:0a", "52:54:00:00:00:0b")


@pytest.fixture
def wire(ns):
    """A namespace with w0, the host's card, and t0, which is the other end of its cable (the peer's)."""
    ns.shell("ip link delete t0; ip link add w0 type veth peer name t0; ip link set w0 up; ip link set t0 up")
    done = subprocess.run(ns.words("ip", "link", "add", "link", "w0", "name", "try", "type", "macvtap"),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this host has no macvtap for us: {done.stdout.strip()}")
    ns.run("ip", "link", "delete", "try")
    return ns


@pytest.fixture
def bridge(ns):
    """A namespace with br0, and a cable from it to t0, which is the peer's."""
    ns.shell("ip link delete t0; ip link add p0 type veth peer name t0; ip link add br0 type bridge; "
             "ip link set p0 master br0; for i in br0 p0 t0; do ip link set $i up; done")
    return ns


def ports(ns):
    """How many interfaces are in br0."""
    return ns.run("ip", "-oneline", "link", "show", "master", "br0").count("master br0")


def card(model, netdev, number=0, mac=None):
    return ("-netdev", f"{netdev},id=n{number}",
            "-device", f"{model},netdev=n{number}" + (f",mac={mac}" if mac else ""))


def carrier(vm):
    return "link: on" in vm.monitor.command("info network")


MODELS = {"virtio-net-pci": "virtio-net", "e1000": "e1000", "rtl8139": "rtl8139"}  # and the guest's driver


@pytest.mark.parametrize("model", MODELS)
def test_macvtap(guest, wire, peer, model):
    """The card's address is the macvtap's: the echo's answers come to it."""
    echo = peer("echo", "--count", 0)
    guest(f"net-rtt nic={MODELS[model]} count=300 peer=20000", *card(model, "macvtap,link=w0", mac=MACS[0]), ns=wire)
    assert echo.finish()["frames"] == "300"
    assert "macvtap" not in wire.run("ip", "link")


@pytest.mark.parametrize("mode", ["bridge", "vepa", "private", "passthru"])
def test_macvtap_modes(guest, wire, peer, mode):
    sink = peer("sink", "--count", 3000)
    guest("net-tx count=3000 peer=20000", *card("virtio-net-pci", f"macvtap,link=w0,mode={mode}"), ns=wire)
    assert sink.finish()["frames"] == "3000"
    source = peer("source", "--count", 3000)
    guest("net-rx count=3000 peer=20000", *card("virtio-net-pci", f"macvtap,link=w0,mode={mode}"), ns=wire)
    source.finish()


def test_macvtap_offloads(guest, wire, peer):
    sink = peer("sink", "--count", 300, "--tcp")
    guest("net-tx count=300 size=30000 gso=1448 peer=20000", *card("virtio-net-pci", "macvtap,link=w0"), ns=wire)
    found = sink.finish()
    assert int(found["gso"]) + int(found["socket_drops"]) == 300


@pytest.mark.parametrize("words", [
    ("-net", f"nic,model=virtio,macaddr={MACS[0]}", "-net", "macvtap,link=w0"),
    ("-nic", f"macvtap,link=w0,model=virtio,mac={MACS[0]}"),
    ("-net", f"nic,model=virtio,macaddr={MACS[1]}", "-net", f"macvtap,link=w0,mac={MACS[1]},mode=private")])
def test_macvtap_in_other_words(guest, wire, peer, words):
    echo = peer("echo", "--count", 0)
    guest("net-rtt count=100 peer=20000", *words, ns=wire)
    assert echo.finish()["frames"] == "100"


def test_macvtap_is_the_cards(start, wire):
    """Made, named, addressed and set up; gone after SIGTERM."""
    vm = start(*harness.guest_args("hello end=halt"),
               *card("virtio-net-pci", "macvtap,link=w0,ifname=mine", mac=MACS[0]), ns=wire)
    vm.wait_for("done passed=1")
    shown = wire.run("ip", "-details", "link", "show", "mine")
    assert MACS[0] in shown and "mode bridge" in shown and "UP" in shown
    told = vm.monitor.command("info network")
    assert "ifname: mine" in told and "parent: w0" in told and "mode: bridge" in told
    vm.process.send_signal(signal.SIGTERM)
    vm.wait(10)
    assert "mine" not in wire.run("ip", "link")


def test_macvtap_of_a_killed_vm(start, wire):
    vm = start(*harness.guest_args("hello end=halt"), *card("virtio-net-pci", "macvtap,link=w0,ifname=mine"), ns=wire)
    vm.wait_for("done passed=1")
    vm.process.kill()
    harness.wait_until(lambda: "mine" not in wire.run("ip", "link"), "the macvtap's end")


def test_macvtap_by_file_descriptor(folder, wire, peer):
    """fd=: whoever starts vireo has opened /dev/tapN of one that is there already."""
    wire.shell(f"ip link add link w0 name mine address {MACS[0]} type macvtap mode bridge; ip link set mine up")
    index = wire.run("cat", "/proc/net/igmp")  # has the index of each interface that is up
    index = next(line.split()[0] for line in index.splitlines() if line.split()[1:2] == ["mine"])
    if not pathlib.Path(f"/dev/tap{index}").exists():
        pytest.skip("this /dev has no nodes of macvtaps")
    opener = ("import fcntl, os, struct, sys\n"
              f"fd = os.open('/dev/tap{index}', os.O_RDWR)\n"
              "fcntl.ioctl(fd, 0x400454ca, struct.pack('16sH22x', b'', 0x5002))\n"
              "os.set_inheritable(fd, True)\n"
              "os.execv(sys.argv[1], [w.replace('FD', str(fd)) for w in sys.argv[1:]])\n")
    echo = peer("echo", "--count", 0)
    words = [harness.VIREO, "-nodefaults", "-serial", "stdio", *harness.guest_args("net-rtt count=200 peer=20000"),
             *card("virtio-net-pci", "tap,fd=FD", mac=MACS[0])]
    with harness.Process(["python3", "-c", opener, *words], folder, "fd", ns=wire) as vm:
        vm.wait(30, 0)
        assert echo.finish()["frames"] == "200"
        assert "not that of" not in vm.errors
    words = [harness.VIREO, "-nodefaults", "-serial", "stdio", *harness.guest_args("hello"),
             *card("virtio-net-pci", "tap,fd=FD", mac=MACS[1])]
    with harness.Process(["python3", "-c", opener, *words], folder, "fd", ns=wire) as vm:
        vm.wait(30, 0)
        assert f"the card's address is not that of mine, which gets no frames for it (mac={MACS[0]}" in vm.errors
    assert "mine" in wire.run("ip", "link")


def test_parent_of_a_macvtap(start, wire):
    """Its cable is the guest's; when it is deleted, that is the end of the network, not of the VM."""
    vm = start(*harness.guest_args("hello end=halt"), *card("virtio-net-pci", "macvtap,link=w0"), ns=wire)
    vm.wait_for("done passed=1")
    assert carrier(vm)
    for name in ("t0", "w0", "macvtap0"):
        wire.run("ip", "link", "set", name, "down")
        harness.wait_until(lambda: not carrier(vm), f"no carrier with {name} down")
        wire.run("ip", "link", "set", name, "up")
        harness.wait_until(lambda: carrier(vm), f"carrier with {name} up")
    wire.run("ip", "link", "delete", "w0")
    harness.wait_until(lambda: not carrier(vm), "no carrier")
    harness.wait_until(lambda: "was deleted" in vm.errors, "a word about it")
    assert vm.monitor.status() == "running"
    vm.monitor.send("quit")
    vm.wait(10, 0)


def two_guests(start, model, first, second, ns):
    """One echoes what the other sends."""
    words = f"nic={MODELS[model]} pair=1 peer=40000"
    echo = start(*harness.guest_args(f"net-echo idle=20000 {words}"), *card(model, first, mac=MACS[0]), ns=ns)
    rtt = start(*harness.guest_args(f"net-rtt count=300 {words}"), *card(model, second, mac=MACS[1]), ns=ns)
    rtt.wait(60, 0)
    harness.all_passed(rtt)
    echo.wait(60, 0)
    harness.all_passed(echo)
    assert echo.result("net-echo")["frames"] == rtt.result("net-rtt")["round_trips"] == "300"


@pytest.mark.parametrize("model", MODELS)
def test_two_guests_on_macvtaps(start, wire, model):
    two_guests(start, model, "macvtap,link=w0", "macvtap,link=w0", wire)


@pytest.mark.parametrize("model", MODELS)
def test_two_guests_on_a_bridge(start, bridge, model):
    two_guests(start, model, "tap,br=br0", "tap,br=br0", bridge)
    assert ports(bridge) == 1


def test_same_address_twice(start, wire):
    first = start(*harness.guest_args("hello end=halt"), *card("virtio-net-pci", "macvtap,link=w0"), ns=wire)
    first.wait_for("done passed=1")
    second = start(*harness.guest_args("hello end=halt"), *card("virtio-net-pci", "macvtap,link=w0"), ns=wire)
    second.wait(10, 1)
    assert "52:54:00:12:34:56 already (give the card its own mac=)" in second.errors
    assert "macvtap1" not in wire.run("ip", "link")


def test_bridge_deleted_while_running(start, bridge):
    vm = start(*harness.guest_args("hello end=halt"), *card("virtio-net-pci", "tap,br=br0,ifname=made0"), ns=bridge)
    vm.wait_for("done passed=1")
    assert "master br0" in bridge.run("ip", "link", "show", "made0")
    bridge.run("ip", "link", "delete", "br0")
    harness.wait_until(lambda: "no longer in the bridge br0" in vm.errors, "a word about it")
    assert vm.monitor.status() == "running"
    vm.monitor.send("quit")
    vm.wait(10, 0)
    assert "made0" not in bridge.run("ip", "link")


def test_mtu_raised_while_running(start, ns, peer):
    """Frames longer than what the interface could carry when the driver came up arrive whole."""
    vm = start(*harness.guest_args("net-rtt count=100 size=9000 delay=4000 peer=20000"),
               *card("virtio-net-pci", "tap,ifname=t0"), ns=ns)
    harness.wait_until(lambda: "header: 12" in vm.monitor.command("info network"), "the driver")
    ns.run("ip", "link", "set", "t0", "mtu", "9100")
    echo = peer("echo", "--count", 0)
    vm.wait(60, 0)
    harness.all_passed(vm)
    assert echo.finish()["frames"] == "100"


# ---- ordinary users ----

def as_nobody(*words):
    """As an ordinary user who may use /dev/kvm; the process keeps its id."""
    group = os.stat("/dev/kvm").st_gid
    return ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--groups", str(group), "--", *map(str, words)]


@pytest.fixture
def user():
    """Skips where nobody can't be played, or can't reach what was built."""
    if os.geteuid() or not shutil.which("setpriv"):
        pytest.skip("only root can play an ordinary user, with setpriv")
    if subprocess.run(as_nobody(harness.VIREO, "--version"), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                      check=False).returncode:
        pytest.skip(f"an ordinary user can't run {harness.VIREO}")


@pytest.fixture
def helper(user):
    """The helper with root's rights, and the list that it reads."""
    if not HELPER.exists():
        pytest.skip(f"{HELPER} wasn't built")
    LIST.write_text("allow br0\n")
    LIST.chmod(0o644)
    HELPER.chmod(0o4755)
    yield HELPER
    HELPER.chmod(0o755)
    LIST.unlink()


def run_as_nobody(folder, ns, tests, netdev):
    words = as_nobody(harness.VIREO, "-nodefaults", "-display", "none", "-serial", "stdio",
                      *harness.guest_args(tests), *card("virtio-net-pci", netdev))
    return harness.Process(words, folder, "nobody", ns=ns)


def test_bridge_helper(helper, bridge, peer, folder):
    """An ordinary user's guest on the bridge, and nothing left of it."""
    echo = peer("echo", "--count", 0)
    with run_as_nobody(folder, bridge, "net-rtt count=200 peer=20000", f"bridge,br=br0,helper={helper}") as vm:
        vm.wait(30, 0)
        assert echo.finish()["frames"] == "200"
    assert ports(bridge) == 1


def test_bridge_helper_refuses(helper, bridge, folder):
    LIST.write_text("allow br1\n")
    with run_as_nobody(folder, bridge, "hello", f"bridge,br=br0,helper={helper}") as vm:
        vm.wait(30, 1)
        assert "doesn't allow the bridge br0" in vm.errors


def test_user_namespace(user, folder):
    """A user who is root in a namespace of his own: bridge and TAP are made there by vireo's netlink; a MacVTap can't
    be opened, and leaves nothing."""
    script = f"""
        ip link add br0 type bridge; ip link set br0 up
        {harness.VIREO} -nodefaults -serial stdio -kernel builtin: -append hello \\
            -netdev tap,id=n0,br=br0 -device virtio-net-pci,netdev=n0
        echo status $?
        ip link add v0 type veth peer name v1
        {harness.VIREO} -nodefaults -serial stdio -kernel builtin: -append hello \\
            -netdev macvtap,id=n0,link=v0 -device virtio-net-pci,netdev=n0
        ip link show | grep -c -e macvtap -e tap0
    """
    with harness.Process(as_nobody("unshare", "--map-root-user", "--net", "sh", "-c", script), folder, "user") as run:
        run.wait(30)
        if "unshare failed" in run.errors:
            pytest.skip("this host allows users no namespaces")
        assert "status 0" in run.output, run.failure("a guest on a bridge")
        assert "the character device of macvtap0" in run.errors or "no macvtap" in run.errors
        assert run.output.splitlines()[-1] == "0"
