"""virtio-net over a TAP, the built-in guest at one end and tools/peer at the other: contents are checked."""
import contextlib
import re

import pytest

import harness

TRANSPORTS = {"transitional": "", "modern": ",disable-legacy=on", "legacy": ",disable-modern=on"}
DRIVERS = {"transitional": ("auto",), "modern": ("modern",), "legacy": ("legacy",)}
FLOOD = """
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("t0", 0))
for _ in range({}):
    try:
        s.send(bytes.fromhex("ffffffffffff02000000000188b5") + bytes(46))
    except OSError:
        pass  # nobody takes it
"""
WAITS = {"poll": "irq=0", "msix": "irq=1", "intx": "irq=intx"}


def nic(options="", tap="t0", number=0):
    return ("-netdev", f"tap,id=n{number},ifname={tap},script=no,downscript=no",
            "-device", f"virtio-net-pci,netdev=n{number}{options}")


@pytest.fixture(params=TRANSPORTS)
def transport(request):
    return request.param


@pytest.fixture(params=WAITS)
def wait(request):
    return request.param


def combined(transport, wait):
    """The device's options, and the driver's parameters."""
    options = TRANSPORTS[transport] + (",vectors=0" if wait == "intx" else "")
    return options, f"transport={DRIVERS[transport][0]} {WAITS[wait]}"


def test_send(guest, peer, ns, transport, wait):
    options, words = combined(transport, wait)
    sink = peer("sink", "--count", 20000)
    vm = guest(f"net-tx count=20000 peer=20000 {words}", *nic(options), ns=ns)
    found = sink.finish()
    assert (found["frames"], found["bad"], found["foreign"]) == ("20000", "0", "0")
    assert (int(vm.result("net-tx")["interrupts"]) > 0) == (wait != "poll")


def test_receive(guest, peer, ns, transport, wait):
    options, words = combined(transport, wait)
    source = peer("source", "--count", 20000)
    vm = guest(f"net-rx count=20000 peer=20000 size=64 {words}", *nic(options), ns=ns)
    source.finish()
    found = vm.result("net-rx")
    assert (found["frames"], found["lost"], found["bad"]) == ("20000", "0", "0")
    assert (int(found["interrupts"]) > 0) == (wait != "poll")


def test_round_trips(guest, peer, ns, transport, wait):
    options, words = combined(transport, wait)
    echo = peer("echo", "--count", 0)
    vm = guest(f"net-rtt count=1000 peer=20000 {words}", *nic(options), ns=ns)
    assert echo.finish()["frames"] == vm.result("net-rtt")["round_trips"] == "1000"


def test_echo_in_the_guest(guest, peer, ns):
    ping = peer("ping", "--count", 1000)
    guest("net-echo peer=20000 irq=1", *nic(), ns=ns)
    assert ping.finish()["round_trips"] == "1000"


@pytest.mark.parametrize("size", [60, 61, 1514, 9000])
def test_sizes(guest, peer, ns, size):
    ns.run("ip", "link", "set", "t0", "mtu", "9100")
    sink = peer("sink", "--count", 2000)
    guest(f"net-tx count=2000 size={size} peer=20000", *nic(), ns=ns)
    found = sink.finish()
    assert found["frames"] == "2000"
    assert int(found["bytes"]) == (2000 - int(found["socket_drops"])) * size


@pytest.mark.parametrize("size,mrg_rxbuf", [(60, "on"), (1514, "on"), (9000, "on"), (60, "off"), (1514, "off")])
def test_receive_sizes(guest, peer, ns, size, mrg_rxbuf):
    ns.run("ip", "link", "set", "t0", "mtu", "9100")
    source = peer("source", "--count", 2000, "--size", size)
    guest(f"net-rx count=2000 size={size} peer=20000", *nic(f",mrg_rxbuf={mrg_rxbuf}"), ns=ns)
    source.finish()


@pytest.mark.parametrize("device", [",indirect_desc=off", ",event_idx=off", ",event_idx=off,indirect_desc=off",
                                    ",ioeventfd=off", ",rx_queue_size=64,tx_queue_size=64"])
def test_ring_features(guest, peer, ns, device):
    sink = peer("sink", "--count", 5000)
    guest("net-tx count=5000 peer=20000 irq=1", *nic(device), ns=ns)
    sink.finish()
    source = peer("source", "--count", 5000)
    guest("net-rx count=5000 peer=20000 irq=1", *nic(device), ns=ns)
    source.finish()


@pytest.mark.parametrize("device,words", [
    ("", "irq=1"), (",vectors=0", "irq=intx queue=77"), (",event_idx=off", "irq=1"),
    (",indirect_desc=off", "segments=3 queue=100")])
def test_packed_rings(guest, peer, ns, device, words):
    """Sizes that are no powers of two are right there."""
    nics, words = nic(",packed=on" + device), f"peer=20000 packed=1 {words}"
    sink = peer("sink", "--count", 5000)
    guest(f"net-tx count=5000 {words}", *nics, ns=ns)
    sink.finish()
    source = peer("source", "--count", 5000)
    guest(f"net-rx count=5000 {words}", *nics, ns=ns)
    source.finish()
    echo = peer("echo", "--count", 0)
    guest(f"net-rtt count=500 {words}", *nics, ns=ns)
    assert echo.finish()["frames"] == "500"


def test_packed_rings_with_offloads(guest, peer, ns):
    """Long frames: chains sent, several buffers for a frame received."""
    sink = peer("sink", "--count", 500, "--tcp")
    guest("net-tx count=500 size=60000 gso=1448 packed=1 indirect=0 segments=5 peer=20000", *nic(",packed=on"),
          ns=ns)
    found = sink.finish()
    assert int(found["gso"]) + int(found["socket_drops"]) == 500
    source = peer("source", "--count", 500, "--gso", 1448, "--size", 30000)
    guest("net-rx count=500 size=30000 packed=1 peer=20000 offload=1", *nic(",packed=on"), ns=ns)
    source.finish()


def test_checksum_offload_sent(guest, peer, ns):
    sink = peer("sink", "--count", 2000, "--tcp")
    guest("net-tx count=2000 size=1000 csum=1 peer=20000", *nic(), ns=ns)
    found = sink.finish()
    assert found["frames"] == "2000"
    assert int(found["csum"]) + int(found["socket_drops"]) == 2000


def test_segmentation_offload_sent(guest, peer, ns):
    sink = peer("sink", "--count", 500, "--tcp")
    guest("net-tx count=500 size=60000 gso=1448 peer=20000", *nic(), ns=ns)
    found = sink.finish()
    assert found["frames"] == "500"
    assert int(found["gso"]) + int(found["socket_drops"]) == 500
    assert int(found["bytes"]) == int(found["gso"]) * 60000


@pytest.mark.parametrize("mrg_rxbuf", ["on", "off"])
def test_segmentation_offload_received(guest, peer, ns, mrg_rxbuf):
    source = peer("source", "--count", 500, "--gso", 1448, "--size", 30000)
    vm = guest("net-rx count=500 size=30000 peer=20000 offload=1 buffer=32000",
               *nic(f",mrg_rxbuf={mrg_rxbuf}"), ns=ns)
    source.finish()
    assert vm.result("net-rx")["segmented"] == "500"


def test_checksum_without_vnet_hdr(guest, ns, peer):
    """vireo fills in what the guest leaves to be done."""
    sink = peer("sink", "--count", 1000, "--tcp")
    guest("net-tx count=1000 size=1000 csum=1 peer=20000", "-netdev", "tap,id=n0,ifname=t0,vnet_hdr=off",
          "-device", "virtio-net-pci,netdev=n0", ns=ns)
    found = sink.finish()
    assert found["frames"] == "1000"
    assert found["csum"] == "0"


def test_two_nics(guest, ns, peer):
    """Each on a TAP of its own; the frames of one are not seen by the other."""
    ns.tap("t1")
    first = peer("sink", "--count", 3000)
    second = peer("sink", "--count", 5000, interface="t1")
    guest("net-tx index=0 count=3000 peer=20000 net-tx index=1 count=5000 peer=20000",
          *nic(), *nic(tap="t1", number=1), ns=ns)
    assert first.finish()["frames"] == "3000"
    assert second.finish()["frames"] == "5000"


def test_old_and_short_forms(guest, ns, peer):
    """-net nic -net tap, and -nic, as scripts have them."""
    for words in (("-net", "nic,model=virtio,macaddr=00:16:3e:22:22:22", "-net", "tap,ifname=t0,script=no"),
                  ("-nic", "tap,ifname=t0,script=no,model=virtio-net-pci,mac=00:16:3e:22:22:22")):
        sink = peer("sink", "--count", 500)
        guest("net-tx count=500 peer=20000", *words, ns=ns)
        sink.finish()


def test_tap_is_made_and_goes(start, ns):
    vm = start(*harness.guest_args("hello end=halt"), "-netdev",
               "tap,id=n0,ifname=made0,script=no,downscript=no", "-device", "virtio-net-pci,netdev=n0", ns=ns)
    vm.wait_for("done passed=1")
    assert "made0" in ns.run("ip", "link")
    vm.monitor.send("quit")
    vm.wait(10, 0)
    assert "made0" not in ns.run("ip", "link")


def test_tap_by_file_descriptor(folder, ns, peer):
    """fd=: the descriptor is the caller's, here a shell that python3 opens it for."""
    opener = ("import fcntl, os, struct, sys\n"
              "fd = os.open('/dev/net/tun', os.O_RDWR)\n"
              "fcntl.ioctl(fd, 0x400454ca, struct.pack('16sH22x', b't0', 0x5002))\n"
              "os.set_inheritable(fd, True)\n"
              "os.execv(sys.argv[1], [w.replace('FD', str(fd)) for w in sys.argv[1:]])\n")
    sink = peer("sink", "--count", 1000)
    words = [harness.VIREO, "-nodefaults", "-serial", "stdio",
             *harness.guest_args("net-tx count=1000 peer=20000"),
             "-netdev", "tap,id=n0,fd=FD", "-device", "virtio-net-pci,netdev=n0"]
    with harness.Process(["python3", "-c", opener, *words], folder, "fd", ns=ns) as vm:
        vm.wait(30, 0)
        sink.finish()


def test_scripts(guest, ns, folder):
    log = folder / "log"
    script = folder / "script"
    script.write_text(f"#!/bin/sh\necho $0 $1 >> {log}\nip link set $1 up\n")
    script.chmod(0o755)
    down = folder / "down"
    down.write_text(f"#!/bin/sh\necho $0 $1 >> {log}\n")
    down.chmod(0o755)
    guest("hello", "-netdev", f"tap,id=n0,ifname=made0,script={script},downscript={down}",
          "-device", "virtio-net-pci,netdev=n0", ns=ns)
    assert log.read_text().splitlines() == [f"{script} made0", f"{down} made0"]


def test_bridge(start, ns):
    ns.shell("ip link add br0 type bridge; ip link set br0 up")
    vm = start(*harness.guest_args("hello end=halt"), "-netdev", "tap,id=n0,ifname=made0,br=br0",
               "-device", "virtio-net-pci,netdev=n0", ns=ns)
    vm.wait_for("done passed=1")
    assert "master br0" in ns.run("ip", "link", "show", "made0")


@contextlib.contextmanager
def sending(start, ns):
    """A VM that sends without an end, and looks at a second TAP's frames afterwards."""
    ns.tap("t1")
    vm = start(*harness.guest_args("net-tx index=0 count=1000000000 size=200"), "-no-shutdown",
               *nic(), *nic(tap="t1", number=1), ns=ns)
    harness.wait_until(lambda: sent(vm) > 1000, "frames that are sent", 20)
    yield vm
    before = sent(vm)
    harness.wait_until(lambda: sent(vm) > before + 1000, "frames that are sent again", 20)
    assert vm.monitor.status() == "running"


def sent(vm):
    """Chains that the first NIC's send queue took."""
    for name, counters in vm.monitor.counters().items():
        if name.startswith("virtio-net-pci.0"):
            return counters["queue 1"]["chains"]
    raise vm.failure("no counters of virtio-net-pci.0")


def dropped(vm, counter="tx-dropped-down"):
    return vm.monitor.counters()["n0"]["queue 0"][counter]


def test_tap_down_while_running(start, ns):
    with sending(start, ns) as vm:
        ns.run("ip", "link", "set", "t0", "down")
        harness.wait_until(lambda: dropped(vm) > 100, "frames dropped, and counted")
        ns.run("ip", "link", "set", "t0", "up")
        harness.wait_until(lambda: vm.monitor.counters()["n0"]["queue 0"]["tx-packets"],
                           "frames that go out")


def test_losses_are_shown(start, ns):
    """Frames that come while a guest stands still: its ring fills, then the TAP's queue, and what is more is lost there."""
    with sending(start, ns) as vm:
        assert "lost:" not in vm.monitor.command("info network")
        vm.monitor.command("stop")
        ns.run("ip", "link", "set", "t0", "txqueuelen", 100)
        ns.run("/usr/bin/python3", "-c", FLOOD.format(2000))
        assert vm.monitor.counters()["n0"]["interface"]["rx-dropped-full"] > 1000
        assert re.search(r"^lost:\n  n0 interface:\n    rx-dropped-full: 1\d\d\d$",
                         vm.monitor.command("info network"), re.MULTILINE)
        vm.monitor.command("cont")


def test_tap_deleted_while_running(start, ns):
    with sending(start, ns) as vm:
        ns.run("ip", "link", "delete", "t0")
        harness.wait_until(lambda: dropped(vm) > 100, "frames dropped, and counted")


def test_link_off_while_running(start, ns):
    with sending(start, ns) as vm:
        assert vm.monitor.command("set_link n0 off") == ""
        harness.wait_until(lambda: harness.total(vm.monitor.counters(), "tx-no-cable") > 100 or
                           dropped(vm) > 100, "frames dropped, and counted")
        assert "link: off" in vm.monitor.command("info network")
        assert vm.monitor.command("set_link virtio-net-pci.0 on") == ""
        assert "link: off" not in vm.monitor.command("info network")


def test_stop_and_cont_while_running(start, ns):
    with sending(start, ns) as vm:
        for _ in range(10):
            vm.monitor.command("stop")
            assert vm.monitor.status() == "paused"
            vm.monitor.command("cont")
        vm.monitor.command("stop")
        harness.wait_until(lambda: sent(vm) == sent(vm), "the queue's end")
        vm.monitor.command("cont")


def test_reset_while_running(start, ns):
    """The reset button under full traffic."""
    with sending(start, ns) as vm:
        for n in range(2, 6):
            vm.monitor.command("system_reset")
            harness.wait_until(lambda n=n: vm.output.count("vireo-guest: ready") == n, f"boot {n}", 20)
