#!/usr/bin/python3
"""UDP from the host into a guest that takes it more slowly than it comes, under a stock Debian kernel: where datagrams
are lost, with vhost and without (docs/udp-losses.md). A scenario of lab_suite.py, or by itself:

	lab_udp.py [--only SCENARIO] udp FOLDER

FOLDER as for lab_suite.py. It needs the host's module vhost_net.

The guest has a card for each of the two. What is sent is all accounted for: it came to the reader, or somebody on the
way has counted that it is lost. The counters are of other frames, too: the addresses of both ends are fixed, so that
there are none to speak of (OTHERS).
"""
import pathlib
import re
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import harness  # noqa: E402
from harness import Failure, flat  # noqa: E402
from lab_context import SCENARIOS, SILENCE, scenario  # noqa: E402
from lab_nics import GUEST_MAC, HOST_MAC, Host  # noqa: E402

GROUP = "udp"
UDP = harness.BUILD / "tools" / "udp"
PORT, SIZE = 7003, 1000
OTHERS = 3  # frames
CARDS = {"vhost": ("vhost=on", ""), "user": ("vhost=off", "")}  # options of the TAP, of the card
DEFAULT_RMEM = 212992  # Linux's own
LARGE_RMEM = 32 << 20
PACED_RMEM = 1 << 20  # some hundred datagrams: what comes in two seconds, for the lab has pauses as long
QUEUE, RING = 1000, 256  # frames that the TAP's queue holds, and the guest's ring
VHOST_BATCH = 64  # frames that vhost takes out of the TAP's queue at a time, besides
SLOW = 50  # passes over each datagram


class Flood:
    """What became of the datagrams of one check."""

    def __init__(self, card, text, before, after):
        sent = re.search(r"^sent=(\d+) refused=(\d+) seconds=(\S+)", text, re.MULTILINE)
        self.sent, self.seconds = int(sent[1]), float(sent[3])
        snmp = {}
        for when in ("before", "after"):
            names, values = re.findall(rf"^{when}: (.*)$", text, re.MULTILINE)
            snmp[when] = dict(zip(names.split(), map(int, values.split())))
        self.guest = {name: value - snmp["before"][name] for name, value in snmp["after"].items()}
        self.taken, self.socket = self.guest["InDatagrams"], self.guest["RcvbufErrors"]
        self.moved = {name: value - before.get(name, 0) for name, value in after.items()}
        self.queue = self.moved[f"n{card} interface rx-dropped-full"]
        self.kernels_queue = self.moved["tap_drops"]
        self.no_buffer = sum(n for name, n in self.moved.items()
                             if name.startswith(f"virtio-net-pci.{card} ") and name.endswith("rx-no-buffer"))

    def __str__(self):
        return (f"sent {self.sent} in {self.seconds:.2f} s; taken {self.taken}; lost in the socket {self.socket}, in the "
                f"TAP's queue {self.queue}; rx-no-buffer {self.no_buffer}")

    def check_sum(self):
        found = self.taken + self.socket + self.queue
        if abs(self.sent - found) > OTHERS:
            raise Failure(f"{self}: {self.sent - found} are missing\nguest: {self.guest}\n"
                          f"host: { {name: n for name, n in self.moved.items() if n} }")
        if self.queue != self.kernels_queue:
            raise Failure(f"vireo shows {self.queue} frames lost in the TAP's queue, the kernel {self.kernels_queue}")


class UdpScenario:
    """One guest with these cards, and what it asks for."""

    def __init__(self, s, cards, checks, kernel="bookworm", **more):
        self.s, self.network, self.counted = s, {}, {}
        subprocess.run(["modprobe", "vhost_net"], check=False)
        words = []
        for n, (tap, device) in enumerate(cards):
            mac = GUEST_MAC.format(n)
            if n:
                s.ns.tap(f"t{n}", f"10.0.{n}.1/24")
            s.ns.shell(f"ip link set t{n} address {HOST_MAC} txqueuelen {QUEUE}; "
                       f"ip neighbour replace 10.0.{n}.2 lladdr {mac} dev t{n} nud permanent")
            words += ["-netdev", f"tap,id=n{n},ifname=t{n},script=no,downscript=no,{tap}",
                      "-device", f"virtio-net-pci,netdev=n{n},mac={mac}{device}"]
        self.host = Host(s, *(f"t{n}:{GUEST_MAC.format(n)}" for n in range(len(cards))))
        s.stack.callback(self.host.close)
        self.vm = s.start(kernel, ["boot", *checks, "complaints"], *words, nic=None, initrd=f"{kernel}-nics",
                          module_parameters="", append="ipv6.disable=1", **more)

    def send(self, card, count, rate="0"):
        return self.s.ns.run(UDP, "send", f"10.0.{card}.2", PORT, count, SIZE, rate).strip()

    def counters(self, card):
        drops = int(re.search(r"tap_drops=(\d+)", self.host.ask(f"counters t{card}"))[1])
        return {**flat(self.vm.monitor.counters()), "tap_drops": drops}

    def answer(self, words):
        command, card, *rest = words.split()
        monitor = self.vm.monitor
        if command == "counted":
            self.counted[card].append(self.counters(card))
            self.network[card] = monitor.command("info network")
            return "counted"
        if command == "queue":
            self.s.ns.run("ip", "link", "set", f"t{card}", "txqueuelen", *rest)
            return "set"
        self.counted.setdefault(card, []).append(self.counters(card))
        if command == "send":
            return self.send(card, *rest)
        if command != "stopped":
            return f"what is {words}?"
        monitor.command("stop")
        answer = self.send(card, *rest)
        monitor.command("cont")
        return answer

    def run(self):
        self.s.judge_boot(self.vm, 1)
        self.s.end(self.vm) if self.s.follow(self.vm, self.answer) else None

    def flood(self, check, index):
        """Of the check, which is the INDEXth of its card."""
        text = self.s.section(self.vm, check)
        card = check.partition(":")[2].partition(",")[0]
        before, after = self.counted[card][2 * index:2 * index + 2]
        flood = Flood(card, text, before, after)
        print(f"{check}: {flood}", file=sys.stderr, flush=True)
        return flood


def need(flood, right, what):
    if not right:
        raise Failure(f"{what}: {flood}")


def checks_of(card):
    return [f"udp:{card},{SLOW},{DEFAULT_RMEM},send,{card},2000", f"udp:{card},{SLOW},{LARGE_RMEM},send,{card},500",
            f"udp:{card},0,{LARGE_RMEM},stopped,{card},3000", f"udp:{card},{SLOW},{PACED_RMEM},send,{card},600,200"]


RESULTS = ("socket", "larger", "queue", "paced")


@scenario(GROUP, "boot", *(f"{name}-{result}" for name in CARDS for result in RESULTS), "info", "dmesg", "power-off")
def udp_losses(s):
    """A reader that is slow, one with room for what comes, a guest that stands still, and a sender that goes slowly."""
    u = UdpScenario(s, CARDS.values(), [check for card in range(len(CARDS)) for check in checks_of(card)])
    u.run()
    for card, name in enumerate(CARDS):
        slow, larger, stopped, paced = checks_of(card)
        with s.judge(f"{name}-socket"):
            flood = u.flood(slow, 0)
            flood.check_sum()
            need(flood, flood.socket > flood.sent // 4, "the socket has lost too few")
        with s.judge(f"{name}-larger"):
            flood = u.flood(larger, 1)
            flood.check_sum()
            need(flood, not flood.socket, "lost in a socket that has room")
        with s.judge(f"{name}-queue"):
            flood = u.flood(stopped, 2)
            flood.check_sum()
            room = QUEUE + RING + (VHOST_BATCH if name == "vhost" else 0)
            need(flood, flood.sent - room - OTHERS <= flood.queue <= flood.sent - QUEUE + OTHERS,
                 f"not what a queue of {QUEUE} and a ring of {RING} leave")
            need(flood, name == "vhost" or flood.no_buffer, "no word of the guest's missing buffers")
        with s.judge(f"{name}-paced"):
            flood = u.flood(paced, 3)
            flood.check_sum()
            need(flood, not flood.socket and not flood.queue, "lost from a sender that goes slowly")
    with s.judge("info"):
        s.need_end()
        for card, name in enumerate(CARDS):
            full = u.counted[str(card)][-1][f"n{card} interface rx-dropped-full"]
            s.need(u.network[str(card)], rf"^  n{card} interface:\n    rx-dropped-full: {full}$")
    s.judge_complaints(u.vm)


@scenario(GROUP, "boot", "queue", "dmesg", "power-off")
def udp_long_ring(s):
    """A guest that stands still, with a ring of 1024."""
    check = f"udp:0,0,{LARGE_RMEM},stopped,0,3000"
    u = UdpScenario(s, [("vhost=off", ",rx_queue_size=1024")], [check])
    u.run()
    with s.judge("queue"):
        flood = u.flood(check, 0)
        flood.check_sum()
        need(flood, flood.sent - QUEUE - 1024 - OTHERS <= flood.queue <= flood.sent - QUEUE - 900,
             f"not what a queue of {QUEUE} and a ring of 1024 leave")
    s.judge_complaints(u.vm)


if __name__ == "__main__":
    import lab_suite
    assert SCENARIOS and SILENCE
    lab_suite.main()
