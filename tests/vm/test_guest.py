"""The built-in guest's tests of interrupts, exits and resets; how it is loaded; what probe says."""
import json
import subprocess

import pytest

import harness
from test_blk import drive
from test_net import nic

TRANSPORTS = {"modern": ",disable-legacy=on", "legacy": ",disable-modern=on"}


@pytest.fixture
def devices(ns, disk):
    def words(options):
        return (*nic(options), *drive(disk, device=options), "-device", f"virtio-rng-pci{options}")
    return words


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("wait", ["1", "intx"])
def test_interrupts(guest, ns, devices, transport, wait):
    """Masks, pending bits, the pin: of all devices at once, so that the pins are shared."""
    options = TRANSPORTS[transport] + (",vectors=0" if wait == "intx" else "")
    vm = guest(" ".join(f"irq-test device={device} irq={wait} transport={transport}"
                        for device in ("net", "blk", "rng")), *devices(options), ns=ns)
    assert len(vm.results()) == 3


@pytest.mark.parametrize("address", ["0x2", "0x3", "0x4", "0x5", "0x1f"])
def test_interrupt_pins(guest, kvm, address):
    """Every slot's pin goes through another PIIX3 link."""
    guest("irq-test device=rng irq=intx", "-device", f"virtio-rng-pci,addr={address}")


def test_functions_of_one_slot(guest, kvm):
    vm = guest("hello irq-test device=rng irq=intx index=0 irq-test device=rng irq=intx index=1",
               "-device", "virtio-rng-pci,addr=0x3.0x0,multifunction=on", "-device", "virtio-rng-pci,addr=0x3.0x1")
    assert "pci at=00:03.0 id=1af4:1005" in vm.output
    assert "pci at=00:03.1 id=1af4:1005" in vm.output


def test_slots_follow_the_command_line(guest, ns, disk):
    vm = guest("hello", "-device", "virtio-rng-pci", *nic(), *drive(disk), ns=ns)
    for slot, identity in ((2, "1af4:1005"), (3, "1af4:1000"), (4, "1af4:1001")):
        assert f"pci at=00:{slot:02x}.0 id={identity}" in vm.output


def test_exits(guest, kvm):
    vm = guest("exits count=200 device=rng", "-device", "virtio-rng-pci")
    assert int(vm.result("exits")["pio_read_ns"]) > 0


@pytest.mark.parametrize("by", ["reset", "triple-fault"])
def test_reboots(guest, ns, devices, by):
    """Ten times, with every device there; it ends by itself."""
    vm = guest(f"reboot count=10 by={by} blk-rw rng", *devices(""), ns=ns)
    assert vm.result("reboot")["reboots"] == "10"
    assert vm.output.count("vireo-guest: ready") == 11


@pytest.mark.parametrize("boot", ["pvh", "multiboot"])
def test_as_a_file(start, kvm, folder, boot):
    """The guest has an ELF note for PVH and a multiboot header; without the note it is the latter."""
    image = (harness.BUILD / "guest" / "guest-multiboot.elf").read_bytes()
    if boot == "multiboot":
        note = b"\x12\0\0\0Xen\0"  # type 18, XEN_ELFNOTE_PHYS32_ENTRY
        assert image.count(note) == 1
        image = image.replace(note, b"\x12\0\0\0---\0")
    path = folder / "guest.elf"
    path.write_bytes(image)
    vm = start("-kernel", path, "-append", "hello")
    vm.wait(20, 0)
    harness.all_passed(vm)
    assert f"boot={boot}" in vm.output


def test_initrd_is_taken(start, kvm, folder):
    initrd = folder / "initrd"
    initrd.write_bytes(b"x" * 100000)
    vm = start(*harness.guest_args("hello"), "-initrd", initrd)
    vm.wait(20, 0)
    harness.all_passed(vm)


# ---- probe ----

def test_probe(kvm):
    done = subprocess.run([harness.VIREO, "probe"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("KVM API version", "irqfd", "ioeventfd", "MSI", "dirty", "IOMMU", "vCPUs, at most"):
        assert words in done.stdout


def test_probe_json(kvm):
    assert kvm["kvm_api_version"] == 12
    assert kvm["verdict"] in ("ordinary", "emulated")
    assert kvm["max_vcpus"] >= 1 and kvm["irqfd"] and kvm["ioeventfd"]
    assert all(isinstance(line, str) for line in kvm["summary"])


def test_probe_refuses(host):
    done = subprocess.run([harness.VIREO, "probe", "--frob"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, check=False)
    assert done.returncode == 1 and "--frob" in done.stderr
    assert json.dumps(host)
