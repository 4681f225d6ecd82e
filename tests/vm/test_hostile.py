"""A hostile driver: the device latches, the VM goes on, the other devices notice nothing."""
import re

import pytest

import harness
from test_blk import drive
from test_net import nic

DEVICES = ("net", "net-rx", "net-ctrl", "blk", "rng")


def devices(disk):
    return (*nic(), *drive(disk), "-device", "virtio-rng-pci")


@pytest.mark.parametrize("transport", ["modern", "legacy"])
@pytest.mark.parametrize("device", DEVICES)
def test_hostile(guest, ns, disk, peer, device, transport):
    """Every case, then the other devices do their work, and so does the one that was attacked."""
    if device == "net-rx":  # its requests are completed by what comes in
        other = peer("source", "--no-wait", "--count", 0, "--rate", 20000, "--seconds", 200)
    else:
        other = peer("sink", "--count", 1000, "--seconds", 200)
    vm = guest(f"hostile device={device} transport={transport} rng blk-rw net-tx count=1000 peer=20000",
               *devices(disk), ns=ns, timeout=150)
    found = vm.result("hostile")
    assert found["case"] == "all" and int(found["cases"]) > 20, found
    if not device.startswith("net"):
        other.finish()


@pytest.mark.parametrize("device", DEVICES)
def test_hostile_packed(guest, ns, disk, peer, device):
    if device == "net-rx":
        peer("source", "--no-wait", "--count", 0, "--rate", 20000, "--seconds", 200)
    vm = guest(f"hostile device={device} packed=1 rng packed=1 blk-rw packed=1", *nic(",packed=on"),
               *drive(disk, device=",packed=on"), "-device", "virtio-rng-pci,packed=on", ns=ns, timeout=150)
    assert int(vm.result("hostile")["cases"]) > 30


def test_latched_is_counted(start, ns, disk):
    vm = start(*harness.guest_args("hostile device=blk what=ring-loop end=halt"), *devices(disk), ns=ns)
    vm.wait_for("vireo-guest: done passed=1 failed=0", 30)
    counters = vm.monitor.counters()
    latched = {name.split(".")[0]: harness.total(below, "latched") for name, below in counters.items()}
    assert latched["virtio-blk-pci"] >= 1 and latched["virtio-net-pci"] == 0, counters
    assert harness.total(counters["virtio-blk-pci.0"], "malformed") >= 1
    assert vm.monitor.status() == "running"
    assert len(re.findall("latched|malformed|virtio-blk", vm.errors)) < 50, "it talks too much"


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_random(guest, ns, disk, seed):
    guest(f"hostile device=net what=ring-random seed={seed} count=2000"
          f" hostile device=blk what=ring-random seed={seed} count=2000"
          f" hostile device=net what=pci- seed={seed} count=1000 rng", *devices(disk), ns=ns, timeout=120)
