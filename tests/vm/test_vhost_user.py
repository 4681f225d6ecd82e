"""-netdev vhost-user with DPDK's testpmd as peer: traffic both ways, killed and restarted; and peers that are no good.

	guest -- vhost-user socket -- testpmd (forwards) -- veth v0, v1 -- tools/peer

testpmd needs no hugepages here, and no privileges beyond the namespace. It polls: it has a processor to itself
while a test runs.
"""
import contextlib
import os
import shutil
import socket
import threading

import pytest

import harness


class Testpmd(harness.Process):
    """Forwards between the guest and v0; SERVER: it listens on PATH."""
    __test__ = False

    def __init__(self, folder, ns, path, server=False, queues=1, name="testpmd"):
        program = shutil.which("dpdk-testpmd")
        if not program:
            pytest.fail("dpdk-testpmd is not here: tools/deps test installs it")
        last = (os.cpu_count() or 1) - 1
        super().__init__(
            [program, "--no-huge", "--no-shconf", "--no-pci", "--no-telemetry", "-m", "64",
             "--file-prefix", name, "--lcores", f"(0,1)@(0-{last})",
             "--vdev", f"net_vhost0,iface={path},client={0 if server else 1},queues={queues}",
             "--vdev", f"net_af_packet0,iface=v0,qpairs={queues}", "--",
             f"--rxq={queues}", f"--txq={queues}", "--forward-mode=io", "--auto-start",
             "--stats-period=60", "--total-num-mbufs=4096"],
            folder, name, ns=ns, env={"RUNTIME_DIRECTORY": str(folder)})


@pytest.fixture
def switch(ns, folder):
    """Starts testpmd: switch(server=False, ...); its socket is switch.path."""
    ns.shell("ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up")
    running = []

    def start_one(**more):
        running.append(Testpmd(folder, ns, start_one.path, name=f"testpmd{len(running) or ''}", **more))
        return running[-1]
    start_one.path = folder / "vu.sock"
    yield start_one
    for process in running:
        process.close()


def nic(path, chardev="server=on", netdev="", model="virtio-net-pci"):
    return ("-netdev", f"vhost-user,id=n0,chardev=c0{netdev}",
            "-chardev", f"socket,id=c0,path={path},{chardev}",  # behind it: any order will do
            "-device", f"{model},netdev=n0")


def network(vm):
    return vm.monitor.command("info network")


def sent_to(peer, interface="v1"):
    """Frames that came to the peer's end so far."""
    with open(f"/proc/{peer.pid}/net/dev", encoding="ascii") as file:
        return next(int(line.split()[2]) for line in file if line.strip().startswith(interface + ":"))


@pytest.mark.parametrize("wait", ["irq=0", "irq=1"])
@pytest.mark.parametrize("server", [True, False])
def test_round_trips(guest, peer, ns, switch, server, wait):
    """Who listens makes no difference; every byte is checked."""
    echo = peer("echo", "--count", 0, interface="v1")
    pmd = switch(server=not server)
    if not server:
        harness.wait_until(switch.path.exists, "testpmd's socket")
    vm = guest(f"net-rtt count=1000 peer=20000 {wait}",
               *nic(switch.path, "server=on" if server else "server=off"), ns=ns)
    assert echo.finish()["frames"] == vm.result("net-rtt")["round_trips"] == "1000"
    assert (int(vm.result("net-rtt")["interrupts"]) > 0) == (wait == "irq=1")
    assert pmd.running()
    if server:
        assert not switch.path.exists()


def test_send_and_receive(guest, peer, ns, switch):
    sink = peer("sink", "--count", 20000, interface="v1")
    switch()
    arguments = nic(switch.path)
    guest("net-tx count=20000 peer=20000 size=1514", *arguments, ns=ns)
    found = sink.finish(ok=False)  # between testpmd and it there may be losses, and nothing else
    assert (found["bad"], found["foreign"], found["reordered"]) == ("0", "0", "0")
    assert int(found["frames"]) > 1000
    source = peer("source", "--count", 5000, "--rate", 10000, interface="v1")
    vm = guest("net-rx count=5000 peer=20000 size=64", *arguments, ns=ns, status=None)
    source.finish()
    found = vm.result("net-rx")
    assert found["bad"] == "0" and int(found["frames"]) > 1000


def test_killed_and_restarted(start, peer, ns, switch):
    """The link is down as long as there is no testpmd, and the frames of before wait in the ring."""
    echo = peer("echo", "--count", 0, "--idle", 30, interface="v1")
    pmd = switch()
    vm = start(*harness.guest_args("net-rtt count=4000 gap=500 peer=20000 timeout=5000 irq=1"),
               *nic(switch.path), ns=ns)
    for _ in range(2):
        before = sent_to(echo)
        harness.wait_until(lambda: sent_to(echo) > before + 500, "traffic")
        pmd.process.kill()
        harness.wait_until(lambda: "  peer: off" in network(vm), "vireo to see that it is gone")
        assert "  link: off" in network(vm)
        pmd.close()
        pmd = switch()
        harness.wait_until(lambda: "  peer: on" in network(vm), "the next one")
        assert "  link: on" in network(vm)
    counters = vm.monitor.counters()
    vm.wait(60)
    found = vm.result("net-rtt")
    # What testpmd had in its hands died with it: a frame for each time at most.
    assert found["bad"] == "0" and int(found["lost"]) <= 2
    assert int(found["round_trips"]) + int(found["lost"]) == 4000
    assert counters["n0"]["peer"]["connects"] == 3
    assert counters["n0"]["peer"]["disconnects"] == 2
    assert counters["n0"]["peer"]["bad-replies"] == 0


def test_comes_late(start, peer, ns, switch):
    """wait=off: the guest runs without a peer; one that comes finds its rings."""
    echo = peer("echo", "--count", 0, "--idle", 30, interface="v1")
    vm = start(*harness.guest_args("net-rtt count=500 peer=20000"), *nic(switch.path, "server=on,wait=off"), ns=ns)
    vm.wait_for("^vireo-guest: ready")
    assert "  peer: off" in network(vm)
    switch()
    vm.wait(60, 0)
    assert echo.finish()["frames"] == "500"


def test_queues(start, ns, switch):
    """Two pairs, of which the driver uses one and then both."""
    switch(queues=2)
    vm = start(*harness.guest_args("net-mq count=200 end=halt"),
               *nic(switch.path, netdev=",queues=2", model="virtio-net-pci,mq=on"), ns=ns)
    vm.wait_for("vireo-guest: done passed=1 failed=0", 60)
    assert vm.result("net-mq")["pairs"] == "2"


def test_reboots(guest, peer, ns, switch):
    """The driver comes again and again, and finds its rings served each time."""
    echo = peer("echo", "--count", 0, "--idle", 30, interface="v1")
    switch()
    vm = guest("net-rtt count=200 peer=20000 stop=0 net-rtt count=200 peer=20000 transport=modern", *nic(switch.path),
               ns=ns)
    found = echo.finish(ok=False)  # the numbers in the frames begin anew
    assert (found["frames"], found["bad"]) == ("400", "0")
    assert [result["round_trips"] for result in vm.results()] == ["200", "200"]


# ---- peers that are no good ----

@contextlib.contextmanager
def listener(path, serve):
    """A server in this process: serve(connection) for each that connects."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        kept = []

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    kept.append(server.accept()[0])
                    serve(kept[-1])
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield kept
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in kept:
            connection.close()


ANSWERS = {"silent": b"", "half": b"\1\0\0\0\5\0", "huge": b"\1\0\0\0\5\0\0\0\xff\xff\xff\xff",
           "zeros": bytes(100)}


@pytest.mark.parametrize("answer", ANSWERS)
def test_no_peer_at_all(start, kvm, folder, answer):
    """One that is silent, says half a message, or nonsense: the VM runs, and the monitor answers."""
    path = folder / "vu.sock"
    with listener(path, lambda connection: connection.sendall(ANSWERS[answer])) as connections:
        vm = start(*harness.guest_args("net-rtt count=1 peer=60000"), *nic(path, "reconnect=1"))
        vm.wait_for("^vireo-guest: ready")
        harness.wait_until(lambda: len(connections) > 2, "more attempts", timeout=20)
        assert vm.monitor.status() == "running"
        found = network(vm)
        assert "  peer: off" in found and "  link: off" in found
        assert "is refused: it" in vm.errors


def refused(start, *args):
    vm = start(*harness.guest_args("hello"), *args)
    assert vm.wait(10) != 0
    assert vm.output == ""
    assert vm.errors.count("\n") == 1
    return vm.errors


def test_errors(start, kvm, folder):
    path = folder / "vu.sock"
    assert "no -chardev has the id 'c0'" in refused(start, "-netdev", "vhost-user,id=n0,chardev=c0")
    assert "is no socket" in refused(
        start, "-chardev", "null,id=c0", "-netdev", "vhost-user,id=n0,chardev=c0")
    assert "in use" in refused(
        start, *nic(path, "server=on,wait=off"), "-netdev", "vhost-user,id=n1,chardev=c0")
    assert "virtio" in refused(start, *nic(path, "server=on,wait=off", model="e1000"))
    assert "No such file" in refused(start, *nic(path, "server=off"))
    assert not path.exists()
    with listener(path, lambda connection: connection.close()):
        assert "closed the connection" in refused(start, *nic(path, "server=off"))
