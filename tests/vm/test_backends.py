"""Any back end under any front end: frames pass both ways with the right contents.

A back end is a row of BACKENDS. One whose other end is an interface of the host's has a function that prepares the
namespace and returns (netdev's words, interface): tools/peer is at that interface. One that only knows protocols has
PROTOCOLS for the interface, and the guest's test net-ip speaks to an echo on the host's loopback.
"""
import pathlib
import sys

import pytest

import harness

HOST = pathlib.Path(__file__).with_name("ip_host.py")
PROTOCOLS = object()

# The guest's driver: the card, and what else it wants of the device.
CARDS = {
    "virtio-net": ("virtio-net", "virtio-net-pci"),
    "virtio-net-packed": ("virtio-net packed=1", "virtio-net-pci,packed=on"),
    "virtio-net-legacy": ("virtio-net transport=legacy", "virtio-net-pci,disable-modern=on"),
    "rtl8139": ("rtl8139", "rtl8139,romfile=,cplus=off"),
    "rtl8139c+": ("rtl8139c+", "rtl8139,romfile="),
    "e1000": ("e1000", "e1000,romfile="),
}


def tap(ns):
    return "tap,ifname=t0,script=no,downscript=no", "t0"


def tap_no_header(ns):
    return "tap,ifname=t0,script=no,downscript=no,vnet_hdr=off", "t0"


def macvtap(ns):
    """t0 is the other end of the cable of the card that it stands on."""
    ns.shell("ip link delete t0; ip link add w0 type veth peer name t0; ip link set w0 up; ip link set t0 up")
    if ns.run("ip", "link", "add", "link", "w0", "name", "try", "type", "macvtap", check=False):
        pytest.skip("this host has no macvtap for us")
    ns.run("ip", "link", "delete", "try")
    return "macvtap,link=w0", "t0"


def bridge(ns):
    ns.shell("ip link delete t0; ip link add w0 type veth peer name t0; ip link add br0 type bridge; "
             "ip link set w0 master br0; for i in br0 w0 t0; do ip link set $i up; done")
    return "tap,br=br0", "t0"


def user(ns):
    return "user", PROTOCOLS


BACKENDS = {"tap": tap, "tap-no-header": tap_no_header, "bridge": bridge, "macvtap": macvtap, "user": user}


class Interface:
    """Traffic with tools/peer at an interface."""

    def __init__(self, guest, peer, interface):
        self.guest, self.peer, self.interface = guest, peer, interface

    def run(self, driver, *args, **more):
        sink = self.peer("sink", "--count", 500, interface=self.interface)
        self.guest(f"net-tx nic={driver} count=500 size=1000 peer=20000", *args, **more)
        assert sink.finish()["frames"] == "500"
        source = self.peer("source", "--count", 500, "--size", 1000, "--rate", 5000, interface=self.interface)
        vm = self.guest(f"net-rx nic={driver} count=500 size=1000 peer=20000", *args, **more)
        source.finish()
        assert (vm.result("net-rx")["frames"], vm.result("net-rx")["bad"]) == ("500", "0")
        echo = self.peer("echo", "--count", 0, interface=self.interface)
        self.guest(f"net-rtt nic={driver} count=200 irq=intx peer=20000", *args, **more)
        assert echo.finish()["frames"] == "200"

    def checksums(self, driver, *args, **more):
        """The peer takes frames with the right checksum, or, where a header says so, with the rest to be done."""
        sink = self.peer("sink", "--count", 100, "--tcp", interface=self.interface)
        self.guest(f"net-tx nic={driver} count=100 size=1400 csum=1 peer=20000", *args, **more)
        assert sink.finish()["frames"] == "100"


class Protocols:
    """Traffic with an echo on the host's loopback."""

    def __init__(self, guest, folder, ns):
        self.guest, self.folder, self.ns = guest, folder, ns

    def run(self, driver, *args, **more):
        with harness.Process([sys.executable, HOST, "echo", 0], self.folder, "echo", ns=self.ns) as echo:
            port = echo.wait_for(r"ready (\d+)")[1]
            for wait in ("0", "intx"):
                vm = self.guest(f"net-ip nic={driver} port={port} count=200 irq={wait}", *args, **more)
                assert vm.result("net-ip")["round_trips"] == "200"


@pytest.fixture(params=BACKENDS)
def backend(request, ns, guest, peer, folder):
    """(netdev's words, traffic)"""
    netdev, interface = BACKENDS[request.param](ns)
    if interface is PROTOCOLS:
        return netdev, Protocols(guest, folder, ns)
    return netdev, Interface(guest, peer, interface)


@pytest.mark.parametrize("card", CARDS)
def test_frames(ns, backend, card):
    netdev, traffic = backend
    driver, device = CARDS[card]
    traffic.run(driver, "-netdev", f"{netdev},id=n0", "-device", f"{device},netdev=n0", ns=ns)


@pytest.mark.parametrize("card", ["virtio-net", "e1000"])
def test_filtered(ns, backend, card, folder):
    """The same with a filter in front of it."""
    netdev, traffic = backend
    driver, device = CARDS[card]
    path = folder / "n0.pcap"
    traffic.run(driver, "-object", f"filter-dump,id=f0,netdev=n0,file={path}", "-netdev", f"{netdev},id=n0",
                "-device", f"{device},netdev=n0", ns=ns)
    assert path.stat().st_size > 200 * 60


# The user network shows nobody its frames.
@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "user"], indirect=True)
@pytest.mark.parametrize("card", ["virtio-net", "rtl8139c+", "e1000"])
def test_checksums(ns, backend, card):
    """What the guest leaves undone is done by whoever can: right where the host takes it, or before."""
    netdev, traffic = backend
    driver, device = CARDS[card]
    traffic.checksums(driver, "-netdev", f"{netdev},id=n0", "-device", f"{device},netdev=n0", ns=ns)
