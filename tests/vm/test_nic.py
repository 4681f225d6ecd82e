"""Emulated NICs over a TAP: the built-in guest at one end, tools/peer at the other; contents checked."""
import pytest

import harness

# The guest's driver, and the card it is for.
DRIVERS = {"rtl8139": "rtl8139", "rtl8139-plain": "rtl8139,cplus=off", "rtl8139c+": "rtl8139", "e1000": "e1000"}
MODELS = ("rtl8139", "e1000", "pcnet", "ne2k_pci", "i82551", "i82557b", "i82559er")


def nic(model, tap="t0", number=0):
    return ("-netdev", f"tap,id=n{number},ifname={tap},script=no,downscript=no",
            "-device", f"{model},netdev=n{number},romfile=")


@pytest.fixture(params=DRIVERS)
def card(request):
    """(the guest's word, vireo's words)"""
    return f"nic={request.param.removesuffix('-plain')}", nic(DRIVERS[request.param])


@pytest.mark.parametrize("size", [64, 1500])
def test_send(guest, peer, ns, card, size):
    sink = peer("sink", "--count", 5000)
    guest(f"net-tx {card[0]} count=5000 size={size} peer=20000", *card[1], ns=ns)
    found = sink.finish()
    assert (found["frames"], found["bad"], found["foreign"]) == ("5000", "0", "0")


@pytest.mark.parametrize("size", [64, 1500])
def test_receive(guest, peer, ns, card, size):
    """At a rate that no ring is too short for."""
    source = peer("source", "--count", 5000, "--size", size, "--rate", 10000)
    vm = guest(f"net-rx {card[0]} count=5000 size={size} peer=20000", *card[1], ns=ns)
    source.finish()
    found = vm.result("net-rx")
    assert (found["frames"], found["lost"], found["bad"]) == ("5000", "0", "0")


def test_round_trips_and_echo(guest, peer, ns, card):
    echo = peer("echo", "--count", 0)
    vm = guest(f"net-rtt {card[0]} count=500 peer=20000", *card[1], ns=ns)
    assert echo.finish()["frames"] == vm.result("net-rtt")["round_trips"] == "500"
    ping = peer("ping", "--count", 500)
    guest(f"net-echo {card[0]} peer=20000", *card[1], ns=ns)
    assert ping.finish()["round_trips"] == "500"


def test_interrupts(guest, peer, ns, card):
    """The guest sleeps until the pin says that something moves."""
    sink = peer("sink", "--count", 3000)
    guest(f"net-tx {card[0]} count=3000 irq=intx peer=20000", *card[1], ns=ns)
    sink.finish()
    source = peer("source", "--count", 3000, "--rate", 10000)
    vm = guest(f"net-rx {card[0]} count=3000 irq=intx peer=20000", *card[1], ns=ns)
    source.finish()
    assert int(vm.result("net-rx")["interrupts"]) > 0
    peer("echo", "--count", 0)
    vm = guest(f"net-rtt {card[0]} count=300 irq=intx peer=20000", *card[1], ns=ns)
    assert int(vm.result("net-rtt")["interrupts"]) > 0


def test_flood(guest, peer, ns, card):
    """More than comes through: what is lost is lost whole."""
    source = peer("source", "--count", 30000, "--size", 1000)
    vm = guest(f"net-rx {card[0]} count=30000 size=1000 lossy=1 peer=20000", *card[1], ns=ns)
    source.finish()
    found = vm.result("net-rx")
    assert (found["bad"], found["reordered"], found["wrong_size"]) == ("0", "0", "0")
    assert int(found["frames"]) > 100


def test_filter(guest, peer, ns, card):
    """What is for the card's own address comes in, what is for another's doesn't unless it is asked for."""
    source = peer("source", "--count", 500, "--rate", 10000)
    guest(f"net-rx {card[0]} count=500 promisc=0 peer=20000", *card[1], ns=ns)
    source.finish()
    peer("source", "--no-wait", "--count", 0, "--rate", 1000)
    vm = guest(f"net-rx {card[0]} count=100 promisc=0 peer=500 net-rx {card[0]} count=100 lossy=1 peer=20000",
               *card[1], ns=ns, status=None)
    assert vm.result("net-rx", 0)["reason"] == "no-peer"
    assert vm.result("net-rx", 1)["frames"] == "100"


def test_shortest_and_longest(guest, peer, ns, card):
    for size in (60, 61, 1514):
        sink = peer("sink", "--count", 100)
        guest(f"net-tx {card[0]} count=100 size={size} peer=20000", *card[1], ns=ns)
        assert sink.finish()["frames"] == "100"


@pytest.mark.parametrize("segments", [1, 2, 7])
def test_e1000_pieces(guest, peer, ns, segments):
    ns.run("ip", "link", "set", "t0", "mtu", "9100")
    for size in (64, 9000):
        sink = peer("sink", "--count", 1000)
        guest(f"net-tx nic=e1000 count=1000 size={size} segments={segments} peer=20000", *nic("e1000"), ns=ns)
        assert sink.finish()["frames"] == "1000"


@pytest.mark.parametrize("buffer", [256, 2048, 4096, 16384])
def test_e1000_receive_buffers(guest, peer, ns, buffer):
    ns.run("ip", "link", "set", "t0", "mtu", "9100")
    for size in (1500, 9000):
        source = peer("source", "--count", 500, "--size", size, "--rate", 2000)
        guest(f"net-rx nic=e1000 count=500 size={size} buffer={buffer} queue=1024 mtu=9000 peer=20000", *nic("e1000"), ns=ns)
        source.finish()


@pytest.mark.parametrize("name,size", [("e1000", 60000), ("rtl8139c+", 20000)])
def test_segmentation_offload(guest, peer, ns, name, size):
    """Handed over whole: the TAP takes what the card was told to cut."""
    sink = peer("sink", "--count", 500, "--tcp")
    guest(f"net-tx nic={name} count=500 size={size} gso=1448 peer=20000", *nic(DRIVERS[name]), ns=ns)
    found = sink.finish()
    assert found["frames"] == "500"
    assert int(found["gso"]) + int(found["socket_drops"]) == 500
    assert int(found["bytes"]) == int(found["gso"]) * size


@pytest.mark.parametrize("name", ["e1000", "rtl8139c+"])
def test_checksum_offload(guest, peer, ns, name):
    sink = peer("sink", "--count", 1000, "--tcp")
    guest(f"net-tx nic={name} count=1000 size=1000 csum=1 peer=20000", *nic(DRIVERS[name]), ns=ns)
    found = sink.finish()
    assert found["frames"] == "1000"
    assert int(found["csum"]) + int(found["socket_drops"]) == 1000


def test_several(guest, ns, peer):
    """Two of each, each on a TAP of its own: no frame of one is seen by another."""
    devices, tests, sinks = [], [], []
    for i, model in enumerate(("rtl8139", "e1000", "rtl8139", "e1000")):
        tap = "t0" if i == 0 else ns.tap(f"t{i}")
        devices += nic(model, tap, i)
        tests.append(f"net-tx nic={model} index={i // 2} count={1000 + i} peer=20000")
        sinks.append(peer("sink", "--count", 1000 + i, "--seconds", 100, interface=tap))
    guest(" ".join(tests), *devices, ns=ns)
    assert [sink.finish()["frames"] for sink in sinks] == ["1000", "1001", "1002", "1003"]


@pytest.mark.parametrize("model", MODELS)
def test_hostile(guest, ns, peer, model):
    """Every case, while frames come in; then another card does its work."""
    tap = ns.tap("t1")
    peer("source", "--no-wait", "--count", 0, "--rate", 5000, "--seconds", 200)
    sink = peer("sink", "--count", 500, "--seconds", 200, interface=tap)
    vm = guest(f"hostile-nic nic={model} net-tx nic=e1000 index={int(model == 'e1000')} count=500 peer=20000",
               *nic(model), *nic("e1000", tap, 1), ns=ns, timeout=100)
    assert vm.result("hostile-nic")["case"] == "all"
    assert sink.finish()["frames"] == "500"


@pytest.mark.parametrize("seed", [2, 3])
def test_hostile_random(guest, ns, seed):
    guest(f"hostile-nic nic=rtl8139 what=any seed={seed} count=3000"
          f" hostile-nic nic=rtl8139 what=cplus-descriptors seed={seed} count=10000"
          f" hostile-nic nic=e1000 what=any seed={seed} count=3000"
          f" hostile-nic nic=e1000 what=descriptors seed={seed} count=10000",
          *nic("rtl8139"), *nic("e1000", "t1", 1), ns=ns, timeout=100)


@pytest.mark.parametrize("name", ["rtl8139", "rtl8139c+", "e1000"])
def test_exits_saved(start, ns, kvm, name):
    """A doorbell for each frame: with posted writes most of them don't exit."""
    if not kvm["coalesced_mmio"]:
        pytest.skip("this host's KVM has no coalesced MMIO")
    exits = {}
    for posted in ("on", "off"):
        vm = start(*harness.guest_args(f"net-tx nic={name} count=20000 batch=1 end=halt"),
                   *nic(f"{DRIVERS[name]},posted={posted}"), ns=ns)
        vm.wait_for("done passed=1 failed=0", 60)
        exits[posted] = harness.total(vm.monitor.counters(), "exits")
        vm.close()
    assert exits["off"] > 20000, exits
    assert exits["on"] < exits["off"] * 0.8, exits


def test_no_back_end(guest):
    """A card without a cable: frames go nowhere, and nothing waits for them."""
    guest("net-tx nic=rtl8139 count=100 net-tx nic=rtl8139c+ count=1000", "-device", "rtl8139,romfile=")


def test_counters(start, ns, peer):
    """`info io` says what has been sent."""
    vm = start(*harness.guest_args("net-tx nic=e1000 count=1000 peer=20000 end=halt"), *nic("e1000"), ns=ns)
    peer("sink", "--count", 1000).finish()
    vm.wait_for("done passed=1 failed=0")
    counters = vm.monitor.counters()["e1000.0"]
    assert harness.total(counters, "tx-frames") >= 1000, counters
