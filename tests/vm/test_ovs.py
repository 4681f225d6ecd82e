"""-netdev vhost-user with Open vSwitch's DPDK datapath as peer: guests and an interface on one bridge.

	guest -- vhost-user socket -- Open vSwitch -- vhost-user socket -- guest
	                                  |
	                              veth v0, v1 -- tools/peer

Database, sockets and logs are in the test's folder, all interfaces in its namespace: nothing of a switch that the host
may have is touched. DPDK gets by without hugepages: --no-huge. That means --legacy-mem, and where Open vSwitch doesn't
find this among the arguments, it adds --in-memory, which DPDK refuses together with it. With pmd-maxsleep the thread
that polls leaves its processor to the guests when there is nothing to do.
"""
import os
import pathlib
import re
import subprocess

import pytest

import harness
from test_vhost_user import network, sent_to

VSWITCHD = pathlib.Path("/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk")
SERVER = pathlib.Path("/usr/sbin/ovsdb-server")
SCHEMA = pathlib.Path("/usr/share/openvswitch/vswitch.ovsschema")
EAL = "--no-huge --legacy-mem --no-shconf --no-telemetry --no-pci -m 256"
MACS = ("52:54:00:00:00:0a", "52:54:00:00:00:0b")


class Switch:
    """A database, and a switch that is started, killed and started again with the bridge br0 in it."""

    def __init__(self, folder, ns):
        self.folder, self.ns = folder, ns
        self.env = {"RUNTIME_DIRECTORY": str(folder),  # DPDK's
                    **{f"OVS_{what}DIR": str(folder) for what in ("RUN", "DB", "LOG", "SYSCONF")}}
        self.database = self.process = None
        self.starts = 0

    def make_database(self, config):
        """CONFIG: of other_config."""
        path = self.folder / "conf.db"
        self.tool("ovsdb-tool", "create", path, SCHEMA)
        self.database = harness.Process(
            [SERVER, "-vsyslog:off", path, f"--remote=punix:{self.folder}/db.sock", f"--unixctl={self.folder}/db.ctl"],
            self.folder, "database", ns=self.ns, env=self.env)
        harness.wait_until((self.folder / "db.sock").exists, "the database's socket")
        last = max((cpu for cpu in os.sched_getaffinity(0) if cpu < 128), default=0)  # DPDK knows no more
        config = {"dpdk-init": "true", "dpdk-extra": EAL, "per-port-memory": "true", "pmd-cpu-mask": hex(1 << last),
                  "pmd-maxsleep": "100", **config}
        self.vsctl("--no-wait", "set", "Open_vSwitch", ".",
                   *(f'other_config:{name}="{value}"' for name, value in config.items()))

    def tool(self, *words):
        done = subprocess.run(self.ns.words(*words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, env={**os.environ, **self.env}, check=False)
        if done.returncode:
            raise harness.Failure(f"{' '.join(map(str, words))}: status {done.returncode}: {done.stderr}")
        return done.stdout

    def vsctl(self, *words):
        """Waits until the switch has done it."""
        return self.tool("ovs-vsctl", "-vsyslog:off", f"--db=unix:{self.folder}/db.sock",
                         f"--timeout={30 * harness.SLOWNESS}", *words).strip()

    def start(self):
        self.starts += 1
        self.process = harness.Process(
            [VSWITCHD, "-vsyslog:off", f"unix:{self.folder}/db.sock", f"--unixctl={self.folder}/switch.ctl"],
            self.folder, f"switch{self.starts}", ns=self.ns, env=self.env)
        harness.wait_until(self.is_up, "Open vSwitch to start", timeout=40)
        self.vsctl("--may-exist", "add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev",
                   "--", "--may-exist", "add-port", "br0", "v0")

    def is_up(self):
        running = self.process.running()
        said = self.process.errors
        if not running:
            refused = re.search(r"dpdk\|(?:ERR|EMER)\|(.*)", said)
            if refused and self.starts == 1:
                pytest.skip(f"Open vSwitch's DPDK doesn't run on this host: {refused[1]}")
            raise self.process.failure("ended at its start")
        return "DPDK Enabled - initialized" in said

    def kill(self):
        self.process.close()

    def add_port(self, name, server):
        """A port for a guest whose vireo listens (SERVER), or connects; returns the socket's path."""
        path = self.folder / (f"{name}.sock" if server else name)
        kind = ["type=dpdkvhostuserclient", f"options:vhost-server-path={path}"] if server else ["type=dpdkvhostuser"]
        self.vsctl("add-port", "br0", name, "--", "set", "Interface", name, *kind)
        error = self.vsctl("get", "Interface", name, "error")
        if error != "[]":
            raise self.process.failure(f"port {name}: {error}")
        return path

    def close(self):
        for process in (self.process, self.database):
            if process:
                process.close()


def need_installed():
    if not all(path.exists() for path in (VSWITCHD, SERVER, SCHEMA)):
        pytest.skip("no Open vSwitch with DPDK here: tools/deps ovs installs it, and Debian then starts its daemons")


@pytest.fixture
def switch(ns, folder):
    """Starts Open vSwitch: switch(key=value, ...), of its other_config."""
    need_installed()
    running = []
    ns.shell("ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up")

    def start_one(**config):
        running.append(Switch(folder, ns))
        running[-1].make_database(config)
        running[-1].start()
        return running[-1]
    yield start_one
    for process in running:
        process.close()


def nic(path, server, mac=MACS[0], netdev="", model="virtio-net-pci"):
    how = "server=on" if server else "reconnect=1"
    return ("-chardev", f"socket,id=c0,path={path},{how}", "-netdev", f"vhost-user,id=n0,chardev=c0{netdev}",
            "-device", f"{model},netdev=n0,mac={mac}")


@pytest.mark.parametrize("server", [True, False])
def test_round_trips(guest, peer, ns, switch, server):
    """Between a guest and the interface v0; every byte is checked."""
    path = switch().add_port("p0", server)
    echo = peer("echo", "--count", 0, "--idle", 30, "--seconds", 200, interface="v1")
    vm = guest("net-rtt count=500 peer=20000 irq=1 stop=0 net-rtt count=500 peer=20000 size=1514 transport=modern",
               *nic(path, server), ns=ns)
    found = echo.finish(ok=False)  # the numbers in the frames begin anew
    assert (found["frames"], found["bad"]) == ("1000", "0")
    assert [result["round_trips"] for result in vm.results()] == ["500", "500"]


class Pair:
    """Two ports with a guest at each. SERVERS: whether its vireo listens."""

    def __init__(self, start, bridge, ns, servers=(True, False)):
        self.start, self.ns = start, ns
        self.ports = [(bridge.add_port(f"p{i}", server), server, MACS[i]) for i, server in enumerate(servers)]

    def run(self, first, second, turned=False):
        """SECOND's rings run when FIRST starts; returns both VMs at their end. TURNED: SECOND is at p0."""
        ports = self.ports[::-1] if turned else self.ports
        vms = []
        for tests, port in zip((second, first), ports[::-1]):
            vms.insert(0, self.start(*harness.guest_args(tests), *nic(*port), ns=self.ns))
            harness.wait_until(lambda: "  rings-running: 2" in network(vms[0]), "the rings", timeout=20)
        for vm in vms:
            vm.wait(60, 0)
            harness.all_passed(vm)
        return vms


@pytest.mark.parametrize("turned", [False, True])
def test_two_guests(start, ns, switch, turned):
    """One frame at a time; as many as a ring holds, of which none is lost; then more than the switch can pass on.
    Each time guests come anew to the same ports."""
    bridge = switch()
    pair = Pair(start, bridge, ns)
    rtt, echo = pair.run("net-rtt count=300 irq=1 pair=1 peer=30000", "net-echo irq=1 pair=1 peer=30000", turned)
    assert rtt.result("net-rtt")["round_trips"] == echo.result("net-echo")["frames"] == "300"
    pair.run("net-tx count=200 size=1514", "net-rx count=200 size=1514 peer=30000", turned)
    _, receiver = pair.run("net-tx count=20000 size=64",
                           "net-rx count=20000 size=64 peer=30000 idle=2000 lossy=1", turned)
    assert int(receiver.result("net-rx")["frames"]) > 1000
    assert bridge.process.running()


def test_offloads(start, ns, switch):
    """TCP segmentation is left to the other guest, through the switch: it can on ports where it connects, alone."""
    pair = Pair(start, switch(**{"userspace-tso-enable": "true"}), ns, servers=(True, True))
    _, receiver = pair.run("net-tx count=12 size=30000 gso=1448",
                           "net-rx count=12 size=30000 offload=1 peer=30000")
    assert receiver.result("net-rx")["segmented"] == "12"


@pytest.mark.parametrize("server", [True, False])
def test_killed_and_restarted(start, peer, ns, switch, server):
    """The link is down as long as there is no switch, and the frames of before wait in the ring."""
    echo = peer("echo", "--count", 0, "--idle", 60, "--seconds", 200, interface="v1")
    bridge = switch()
    path = bridge.add_port("p0", server)
    vm = start(*harness.guest_args("net-rtt count=1000 gap=500 peer=20000 timeout=10000 irq=1"), *nic(path, server),
               ns=ns)
    for _ in range(2):
        before = sent_to(echo)
        harness.wait_until(lambda: sent_to(echo) > before + 200, "traffic", timeout=30)
        bridge.kill()
        harness.wait_until(lambda: "  peer: off" in network(vm), "vireo to see that it is gone")
        assert "  link: off" in network(vm)
        if not server:
            path.unlink()  # Open vSwitch doesn't listen where there is a file, not even its own
        bridge.start()
        harness.wait_until(lambda: "  peer: on" in network(vm), "the next one", timeout=20)
        assert "  link: on" in network(vm)
    counters = vm.monitor.counters()["n0"]["peer"]
    vm.wait(60)
    found = vm.result("net-rtt")
    # What the switch, or its interface, had in its hands died with it: a frame for each time at most.
    assert found["bad"] == "0" and int(found["lost"]) <= 2
    assert int(found["round_trips"]) + int(found["lost"]) == 1000
    assert (counters["connects"], counters["disconnects"], counters["bad-replies"]) == (3, 2, 0)


@pytest.mark.parametrize("server", [True, False])
def test_queues(start, ns, switch, server):
    """Two pairs, of which the driver uses one and then both: the switch polls the second one, too."""
    bridge = switch()
    path = bridge.add_port("p0", server)
    vm = start(*harness.guest_args("net-mq count=200 end=halt"),
               *nic(path, server, netdev=",queues=2", model="virtio-net-pci,mq=on"), ns=ns)
    vm.wait_for(r"^vireo-guest: done .*\n", 60)
    harness.all_passed(vm)
    assert vm.result("net-mq")["pairs"] == "2"
    assert "assigned port 'p0' rx queue 1" in bridge.process.errors
