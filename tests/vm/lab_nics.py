"""The emulated NICs under their stock drivers: a scenario for each driver that there is, and two with several cards.

A guest is started with one card, and does what nic_checks.sh has, one after the other: it leads, and asks for what the
host has to do (nic_host.py in the namespace of the TAPs, or vireo's monitor). By default that is little, so that all
drivers take a few minutes in the lab. With VIREO_LAB_FULL=1 in the environment it is as much as a person would want to
have seen once: more is moved, each model has a guest, with the driver's self-tests, and statistics that have to agree
with what was sent; in the end the guest starts again under traffic.
"""
import dataclasses
import pathlib
import re
import subprocess
import sys

from harness import Failure, Process, ProcessFailure, tail, total
from lab_context import FULL, SCENARIOS, SILENCE

FULL_MIB = 256
RELOADS, WAITS = (20, 1) if FULL else (4, 2)  # of the driver under traffic; each how many times it has to come to work
GUEST_MAC = "52:54:00:aa:bb:0{}"
HOST_MAC = "52:54:00:12:34:56"
SLOW = 3  # seconds
HOST = pathlib.Path(__file__).with_name("nic_host.py")


@dataclasses.dataclass(frozen=True)
class Card:
    """A driver's set-up: what it is started with, and what there is to expect of it."""
    group: str
    device: str  # and options
    driver: str
    pci: str
    mib: int  # to be moved each way
    full_mib: int = FULL_MIB  # the same, where all is run
    round_mib: int = 8  # of that at a time
    module: str = ""  # where it isn't called as the driver
    smp: int = 2
    suite: str = "bookworm"
    carrier: bool = True  # the driver sees the cable
    vlan: bool = True  # the driver allows VLANs
    link: tuple = ()  # lines of ethtool's
    flood: int = 200  # frames per second, to unload the driver under
    mtu: int = 1500
    mtu_sizes: tuple = ()
    mtu_is_drivers: bool = True  # it refuses a larger one
    tests: tuple = ()  # arguments of ethtool -t
    counts: dict = dataclasses.field(default_factory=dict)  # ethtool -S's: how many, or which of the interface's
    is_variant: bool = False  # of a card that is there already: alone only where all is run


CARDS = {
    "8139cp": Card(
        "c", "rtl8139", "8139cp", "10ec:8139 (rev 20)", mib=8,
        link=("Speed: 100Mb/s", "Duplex: Full", "Link detected: yes"),
        mtu=4078, mtu_sizes=("1473-4050/173", "1500", "1514-1524", "2020-2050", "4040-4050"),
        mtu_is_drivers=False,  # which allows 4096, but the card takes frames of up to 4096 bytes with FCS
        counts={"tx_ok": "tx_packets", "rx_ok": "rx_packets", "tx_err": 0, "rx_err": 0}),
    "8139too": Card(
        "d", "rtl8139,cplus=off", "8139too", "10ec:8139", mib=4, smp=1,
        link=("Speed: 100Mb/s", "Duplex: Full", "Link detected: yes")),
    "e1000": Card(
        "d", "e1000", "e1000", "8086:100e", mib=8,
        link=("Speed: 1000Mb/s", "Duplex: Full", "Link detected: yes"),
        mtu=16110, mtu_sizes=("1473-16082/487", "2010-2050", "4050-4080", "8140-8160", "16070-16082"),
        tests=("offline", "online"),
        counts={"tx_packets": "tx_packets", "rx_packets": "rx_packets", "rx_missed_errors": 0}),
    "pcnet32": Card(
        "c", "pcnet", "pcnet32", "1022:2000", mib=8,
        link=("Link detected: yes",), tests=("offline",)),
    "ne2k-pci": Card(
        "c", "ne2k_pci", "ne2k-pci", "10ec:8029", mib=1, full_mib=16, round_mib=1,
        module="ne2k_pci", carrier=False, flood=30),
    "e100-i82551": Card(
        "d", "i82551", "e100", "8086:1209", mib=8, tests=("offline", "online"),
        counts={"tx_packets": "tx_packets", "rx_packets": "rx_packets"},
        link=("Speed: 100Mb/s", "Duplex: Full", "Link detected: yes")),
    "e100-i82557b": Card(
        "c", "i82557b", "e100", "8086:1229", mib=4, smp=1, is_variant=True, tests=("offline",), vlan=False,
        link=("Speed: 100Mb/s", "Duplex: Full", "Link detected: yes")),
    "e100-i82559er": Card(
        "d", "i82559er", "e100", "8086:1209", mib=4, is_variant=True, tests=("offline",),
        link=("Speed: 100Mb/s", "Duplex: Full", "Link detected: yes")),
}
# Together in one guest, in these groups. The last one's driver is unloaded and loaded meanwhile, so no other has it.
SEVERAL = {"d": ("8139too", "e100-i82557b", "e100-i82559er", "ne2k-pci")}
if FULL:
    SEVERAL["c"] = ("e1000", "e1000", "pcnet32", "8139cp")


class Host(Process):
    """nic_host.py, which answers a line with a line."""

    def __init__(self, s, *interfaces):
        super().__init__([sys.executable, HOST, *interfaces], s.folder, "nic_host", ns=s.ns, stdin=subprocess.PIPE)
        self.wait_for("^ready$")
        self.read = 0

    def ask(self, words, slow=None):
        """The answer. slow() is called, once, when it takes that long that something must be wrong."""
        self.process.stdin.write(f"{words}\n".encode())
        self.process.stdin.flush()
        answer = None
        while not answer:
            try:
                answer = self.wait_for(r"^answer: (.*)\n", SILENCE if not slow else SLOW, self.read)
            except Failure:
                if not slow or not self.running():
                    raise
                slow()
                slow = None
        self.read = answer.end()
        return answer[1]


def need_sweep(text, movement=()):
    """No echo request was lost. MOVEMENT: what moved when one was."""
    if not re.search(r"^sent=[1-9]\d* lost=0 wrong=0$", text, re.MULTILINE):
        raise Failure("echo requests were lost, or came back wrong:\n" + tail(text, 100) + "\n".join(movement[:1]))


def need_stream(host, text, mib):
    """What stream() in nic_checks.sh says of so many MiB each way."""
    own = re.search(r"^mib=(\w+) ", text, re.MULTILINE)[1]
    moved = 0
    for received, sums, size, came in re.findall(r"^received=(\d+) sums=(\S*)\nround=(\d+) from=(\w+) ", text,
                                                 re.MULTILINE):
        if int(received) != int(size) << 20 or sums != own:
            raise Failure(f"the guest sent {size} MiB with the checksum {own} each; what came is {received} bytes with "
                          f"{sums}:\n{tail(text)}")
        expected = host.ask(f"sum {size}")
        if came != expected:
            raise Failure(f"the host sent {size} MiB with the checksum {expected}, the guest has {came}:\n{tail(text)}")
        moved += int(size)
    if moved != mib:
        raise Failure(f"{moved} of {mib} MiB were moved:\n{tail(text)}")


class CardScenario:
    """One boot with one card, and the judgements of what it says."""

    def __init__(self, card, s):
        self.card, self.s = card, s
        s.ns.shell(f"ip link set t0 address {HOST_MAC} mtu {card.mtu}; "
                   "ip route change 10.0.0.0/24 dev t0 src 10.0.0.1 mtu lock 1500; "
                   f"ip neighbour replace 10.0.0.2 lladdr {GUEST_MAC.format(0)} dev t0 nud permanent; "
                   "ip link add link t0 name t0.5 mtu 1500 type vlan id 5; ip address add 10.0.5.1/24 dev t0.5; "
                   "ip link set t0.5 up")
        self.host = Host(s, f"t0:{GUEST_MAC.format(0)}")
        s.stack.callback(self.host.close)
        self.module = card.module or card.driver
        self.mib = card.full_mib if FULL else card.mib
        self.checks = [
            "boot", "nic", "sweep:1-1472", "pings", f"iperf_seconds:{10 if FULL else 2}", f"stream:{self.mib},{card.round_mib}",
            "filter", *self.mtu_checks(), "vlan", "link" if card.carrier else "link:none",
            f"reloads:{self.module},{RELOADS},{card.flood},{WAITS}"]
        if FULL:
            self.checks += [*(f"selftest:{test}" for test in card.tests), f"counters:{self.module}"]
        self.checks += ["complaints"]
        if FULL:
            self.checks += [f"restart:{card.flood}", "nic", "sweep:1-1472/31"]
        self.snapshots, self.movement = [], []

    def mtu_checks(self):
        if not self.card.mtu_sizes:
            return []
        return [f"mtu:{self.card.mtu},{','.join(self.card.mtu_sizes)}"]

    def answer(self, words):
        if words.startswith("link "):
            self.vm.monitor.command(f"set_link n0 {words.split()[1]}")
            return "ok"
        if words.startswith("mtu "):
            self.s.ns.run("ip", "route", "change", "10.0.0.0/24", "dev", "t0", "src", "10.0.0.1", *words.split())
            return "ok"
        if words == "quiet":  # the host's ends of connections whose other end is gone would send again, later
            self.s.ns.run("ss", "-K", "dst", "10.0.0.2", check=False)
            return "ok"
        if words == "counters":
            self.snapshots.append(self.vm.monitor.counters())
            return f"{self.host.ask('counters t0')}"
        return self.host.ask(words, self.look)

    def look(self):
        """What moves while the host waits for the guest."""
        self.movement.append(self.vm.movement())

    def need_sweep(self, text):
        need_sweep(text, self.movement)

    def run(self):
        s, card = self.s, self.card
        self.vm = s.start(card.suite, self.checks, "-netdev", "tap,id=n0,ifname=t0,script=no,downscript=no",
                          "-device", f"{card.device},netdev=n0,mac={GUEST_MAC.format(0)}", nic=None,
                          smp=card.smp, initrd=f"{card.suite}-nics", append="ipv6.disable=1", reboots=FULL)
        s.judge_boot(self.vm, card.smp)
        s.follow(self.vm, self.answer)
        for result in self.results(card):
            with s.judge(result):
                getattr(self, "judge_" + result.replace("-", "_"))()
        s.judge_complaints(self.vm)
        s.end(self.vm)

    @staticmethod
    def results(card):
        results = ["driver", "ping", "iperf3", "checksums", "filter", *(["mtu"] if card.mtu_sizes else []), "vlan",
                   "link", "reloads"]
        more = [*(["selftest"] if card.tests else []), "counters", "restart"]
        return results + more if FULL else results

    # ---- judgements ----

    def check(self, name):
        """What the first of the checks with this name said."""
        return self.s.section(self.vm, next(check for check in self.checks if check.split(":")[0] == name))

    def judge_driver(self):
        card, text = self.card, self.check("nic")
        ids, _, revision = card.pci.partition(" ")
        self.s.need(text, f"^driver: {card.driver}$", f"^address: {GUEST_MAC.format(0)}$", rf" 0200: {ids}",
                    *(re.escape(line) for line in card.link), rf"Kernel driver in use: {card.driver}$")
        if revision and revision not in text:
            raise Failure(f"no line has '{revision}':\n{tail(text)}")

    def judge_ping(self):
        self.need_sweep(self.s.section(self.vm, "sweep:1-1472"))
        text = self.check("pings")
        if len(re.findall(r"3 packets received, 0% packet loss", text)) != 4:
            raise Failure(f"echo requests of the guest's were lost:\n{tail(text)}")

    def judge_iperf3(self):
        text = self.check("iperf_seconds")
        if len(re.findall(r"receiver$", text, re.MULTILINE)) != 2:
            raise Failure(f"iperf3 did not run both ways:\n{tail(text)}")

    def judge_checksums(self):
        need_stream(self.host, self.check("stream"), self.mib)

    def judge_filter(self):
        """Frames that were seen, per address that they came from and went to."""
        text = self.check("filter")
        seen = {(source, to): int(n) for n, source, to in
                re.findall(r"^ *(\d+) (02:00:00:00:00:\d\d) > (\S+)$", text, re.MULTILINE)}
        everyone = {"broadcast": "ff:ff:ff:ff:ff:ff", "own": GUEST_MAC.format(0)}
        joined, group, other = "01:00:5e:01:02:03", "01:00:5e:44:55:66", "52:54:00:99:88:77"
        states = {"01": ("as it is", ()), "02": ("with a group joined", (joined,)),
                  "03": ("allmulticast", (joined, group)), "04": ("promiscuous", (joined, group, other))}
        for tag, (state, more) in states.items():
            wanted = {*everyone.values(), *more}
            for to in (*everyone.values(), joined, group, other):
                n = seen.get((f"02:00:00:00:00:{tag}", to), 0)
                if n != (3 if to in wanted else 0):
                    raise Failure(f"{state}: of three frames to {to}, {n} were seen:\n{tail(text)}")

    def judge_mtu(self):
        text = self.check("mtu")
        self.need_sweep(text)
        need_stream(self.host, text, 2)
        if self.card.mtu_is_drivers:
            self.s.need(text, r"^above: .*(Invalid|greater than device maximum)")

    def judge_vlan(self):
        if not self.card.vlan:
            self.s.need(self.s.section(self.vm, "vlan", 2), "VLANs not supported on device")
            return
        text = self.check("vlan")
        self.need_sweep(text)
        need_stream(self.host, text, 1)

    def judge_link(self):
        text = self.check("link")
        if self.card.carrier and len(re.findall(r"carrier=0 ", text)) != 2:
            raise Failure(f"the driver did not see twice that the cable was out:\n{tail(text)}")
        losses = re.findall(r"(\d+)% packet loss", text)
        # There is traffic besides, which may push some out of a queue.
        if len(losses) != 4 or [loss == "100" for loss in losses] != [True, False] * 2:
            raise Failure(f"with the cable out, in, out and in, {losses} % of the packets were lost:\n{tail(text)}")

    def judge_selftest(self):
        for test in self.card.tests:
            text = self.s.section(self.vm, f"selftest:{test}")
            self.s.need(text, r"^The test result is PASS$", r"^selftest=0$", r" 0% packet loss")

    def judge_counters(self):
        text = self.check("counters")
        self.need_sweep(text)
        before, after = ({name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", line)}
                         for line in re.findall(r"^tap_rx=.*$", text, re.MULTILINE))
        tap = {name: after[name] - before[name] for name in after}
        own = {name: int(value) for name, value in re.findall(r"^([rt]x_\w+|collisions)=(\d+)$", text, re.MULTILINE)}
        nic = {name: total(self.snapshots[1], name) - total(self.snapshots[0], name)
               for name in ("tx-frames", "rx-frames", "rx-filtered", "tx-bad")}
        facts = f"\nthe TAP: {tap}\nthe driver: {own}\nvireo: {nic}\n{tail(text, 100)}"
        if not own["tx_packets"] == tap["tap_rx"] == nic["tx-frames"]:
            raise Failure(f"not all have counted the same frames from the guest:{facts}")
        if not own["rx_packets"] == tap["tap_tx"] == nic["rx-frames"]:
            raise Failure(f"not all have counted the same frames to the guest:{facts}")
        if any(own[name] for name in own if not re.search("packets|bytes", name)):
            raise Failure(f"the driver counted errors:{facts}")
        # Some drivers count the frame check sequence, and what short frames are padded with; 8139cp leaves the
        # Ethernet header of what it receives out.
        for way, theirs in (("tx", "rx"), ("rx", "tx")):
            n, length = own[f"{way}_packets"], own[f"{way}_bytes"]
            if abs(length - tap[f"tap_{theirs}_bytes"]) > n * 14 + 200:
                raise Failure(f"not all have counted the same bytes:{facts}")
        # Some cards go on counting where they were when the driver is loaded.
        before, after = ({name: int(value) for name, value in re.findall(rf"^{prefix} +(\w+): (\d+)$", text, re.MULTILINE)}
                         for prefix in ("before:", ""))
        for name, value in self.card.counts.items():
            found = after[name] - before.get(name, 0)
            if found != own.get(value, value):
                raise Failure(f"{name} rose by {found}, not by {own.get(value, value)}:{facts}")

    def judge_reloads(self):
        text = self.check("reloads")
        self.s.need(text, rf"^loaded {RELOADS} times$")
        wanted = RELOADS // WAITS
        found = len(re.findall(r"^it works$", text, re.MULTILINE))
        if found != wanted:
            raise Failure(f"of {wanted} times the driver came to work {found}:\n{tail(text)}")

    def judge_restart(self):
        starts = re.split(r"^vireo-guest: up after .*\n", self.vm.output, flags=re.MULTILINE)[1:]
        if len(starts) > 2 or len(starts) == 2 and "begin restart" not in starts[0]:
            raise ProcessFailure(f"the guest started again by itself:\n{tail(starts[0])}")
        place = self.vm.output.rfind("vireo-check: end restart:")
        if place < 0:
            self.s.need_end()
            raise self.vm.failure("the guest did not come back")
        self.s.need(self.vm.output[place:], f"^driver: {self.card.driver}$")
        self.need_sweep(self.s.section(self.vm, "sweep:1-1472/31"))


class CardsScenario:
    """Several cards at once: of different models, and two of one."""

    def __init__(self, cards, s):
        self.cards, self.s = cards, s
        for n in range(1, len(cards)):
            s.ns.tap(f"t{n}", f"10.0.{n}.1/24")
        self.host = Host(s, *(f"t{n}:{GUEST_MAC.format(n)}" for n in range(len(cards))))
        s.stack.callback(self.host.close)

    def run(self):
        s, mibs = self.s, [min(card.mib, FULL_MIB if FULL else 8) for card in self.cards[:-1]]
        module = self.cards[-1].module or self.cards[-1].driver
        words = [word for n, card in enumerate(self.cards) for word in (
            "-netdev", f"tap,id=n{n},ifname=t{n},script=no,downscript=no",
            "-device", f"{card.device},netdev=n{n},mac={GUEST_MAC.format(n)}")]
        addresses = " ".join(f"vireo.ip=10.0.{n}.2/24@eth{n}" for n in range(len(self.cards)))
        check = f"together:{module},{','.join(map(str, mibs))}"
        vm = s.start("bookworm", ["boot", check, "complaints"], *words, nic=None, smp=2, initrd="bookworm-nics",
                     append="ipv6.disable=1", module_parameters=addresses)
        s.judge_boot(vm, 2)
        s.follow(vm, self.host.ask)
        with s.judge("drivers"):
            text = s.section(vm, check)
            for n, card in enumerate(self.cards):
                s.need(text, rf"^eth{n}: carrier=1 from .*\ndriver: {card.driver}\naddress: {GUEST_MAC.format(n)}$")
        with s.judge("checksums"):
            for part, mib in zip(self.parts(vm, check), [*mibs, 1]):
                need_stream(self.host, part, mib)
        with s.judge("ping"):
            for part in self.parts(vm, check):
                need_sweep(part)
        s.judge_complaints(vm)
        s.end(vm)

    def parts(self, vm, check):
        """What the guest says of each card."""
        parts = re.split(r"^card \d\n", self.s.section(vm, check), flags=re.MULTILINE)[1:]
        if len(parts) != len(self.cards):
            raise Failure(f"the guest spoke of {len(parts)} cards")
        return parts


def add_scenarios():
    def register(name, group, results, scenario, *args):
        SCENARIOS[name] = (group, ("boot", *results, "dmesg", "power-off"), lambda s: scenario(*args, s).run())

    for name, card in CARDS.items():
        if card.is_variant and not FULL:
            continue
        register(f"nic-{name}", card.group, CardScenario.results(card), CardScenario, card)
    for group, names in SEVERAL.items():
        register(f"nics-{'-'.join(names)}", group, ("drivers", "checksums", "ping"), CardsScenario,
                 [CARDS[name] for name in names])
