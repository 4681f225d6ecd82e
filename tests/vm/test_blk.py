"""virtio-blk and virtio-rng with the built-in guest; what it wrote is checked in the image."""
import hashlib
import struct

import pytest

import harness

SECTOR = 512
MASK = (1 << 64) - 1


def drive(path, image="", device=""):
    return ("-drive", f"file={path},format=raw,if=none,id=d0{image}",
            "-device", f"virtio-blk-pci,drive=d0{device}")


def pattern(seed, sector):
    """A sector as guest/test_blk.c fills it."""
    first = (seed + 1) * 0x9e3779b97f4a7c15 + sector * 0xbf58476d1ce4e5b9
    return struct.pack("<64Q", *((first + word * 0x94d049bb133111eb) & MASK for word in range(64)))


def check_image(path, seed=1):
    """The sectors that blk-rw wrote: every size, in every cut, each with a sector between."""
    data = path.read_bytes()
    sector = 0
    for size in (512, 1024, 4096, 8192, 12288, 65536, 131072, 262144):
        for _ in range(6):
            for at in range(sector, sector + size // SECTOR):
                assert data[at * SECTOR:(at + 1) * SECTOR] == pattern(seed, at), f"sector {at}"
            sector += size // SECTOR
            assert not any(data[sector * SECTOR:(sector + 1) * SECTOR]), f"sector {sector}"
            sector += 1


@pytest.mark.parametrize("wait", ["irq=0", "irq=1", "irq=intx"])
@pytest.mark.parametrize("transport", ["auto", "modern", "legacy"])
def test_write_and_read(guest, kvm, disk, transport, wait):
    device = {"auto": "", "modern": ",disable-legacy=on", "legacy": ",disable-modern=on"}[transport]
    vm = guest(f"blk-rw transport={transport} {wait}", *drive(disk, device=device + ",serial=THE-SERIAL"))
    assert vm.result("blk-rw")["serial"] == "THE-SERIAL"
    check_image(disk)


@pytest.mark.parametrize("words", ["irq=1", "irq=intx indirect=0 queue=37", "event-index=0 queue=100"])
def test_packed_rings(guest, kvm, disk, words):
    guest(f"blk-rw packed=1 {words}", *drive(disk, device=",packed=on"))
    check_image(disk)


@pytest.mark.parametrize("image", [",cache=none", ",cache=writethrough", ",discard=unmap"])
def test_images(guest, kvm, disk, image):
    vm = guest("blk-rw irq=1", *drive(disk, image))
    check_image(disk)
    if "discard" in image:
        assert vm.result("blk-rw")["discard"] == "1"


def test_odd_segments(guest, kvm, disk):
    guest("blk-rw odd=1", *drive(disk))
    check_image(disk)
    guest("blk-rw odd=1 write=0", *drive(disk, ",cache=none"))


def test_several_queues(guest, kvm, disk):
    vm = guest("blk-rw queues=4 irq=1", *drive(disk, device=",num-queues=4"))
    assert vm.result("blk-rw")["queues"] == "4"
    check_image(disk)


def test_requests_at_once(guest, kvm, disk):
    vm = guest("blk-bench op=write count=2000 depth=64 queues=2 irq=1 blk-bench op=read count=2000 depth=32",
               *drive(disk, device=",num-queues=2"))
    assert vm.result("blk-bench")["errors"] == "0"


def test_survives_to_the_next_vm(guest, kvm, disk):
    """Another VM, and another transport, read what the first wrote."""
    guest("blk-rw seed=7", *drive(disk))
    guest("blk-rw seed=7 write=0", *drive(disk, device=",disable-legacy=on"))


def test_readonly(guest, kvm, disk):
    guest("blk-rw seed=3", *drive(disk))
    before = hashlib.sha256(disk.read_bytes()).hexdigest()
    disk.chmod(0o444)
    vm = guest("blk-rw seed=3 write=0", *drive(disk, ",readonly=on"))
    assert vm.result("blk-rw")["read_only"] == "1"
    assert hashlib.sha256(disk.read_bytes()).hexdigest() == before


def test_blockdev_and_json(guest, kvm, disk):
    guest("blk-rw", "-blockdev", '{"driver":"file","filename":"%s","node-name":"f0"}' % disk,
          "-blockdev", '{"driver":"raw","file":"f0","node-name":"d0"}',
          "-device", '{"driver":"virtio-blk-pci","drive":"d0","id":"disk0"}')
    check_image(disk)


def test_if_virtio(guest, kvm, disk):
    guest("blk-rw", "-drive", f"file={disk},format=raw,if=virtio")
    check_image(disk)


def test_image_that_shrinks(kvm, disk, start):
    """Reads beyond what is left of the file are the guest's I/O errors, and no more."""
    vm = start("-kernel", "builtin:", "-append", "blk-bench op=read count=3000000", *drive(disk))

    def done():
        return harness.total(vm.monitor.counters()["virtio-blk-pci.0"], "chains")
    harness.wait_until(lambda: done() > 100, "requests")
    with open(disk, "r+b") as file:
        file.truncate(1 << 20)
    before = done()
    harness.wait_until(lambda: done() > before + 1000, "requests that go on")
    assert vm.monitor.status() == "running"


@pytest.mark.parametrize("wait", ["irq=0", "irq=1", "irq=intx"])
def test_rng(guest, kvm, wait):
    vm = guest(f"rng bytes=4096 packed=1 {wait} rng bytes=8192 {wait}", "-device", "virtio-rng-pci,packed=on")
    assert vm.result("rng")["bytes"] == "8192"
