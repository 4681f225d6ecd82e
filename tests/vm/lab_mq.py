#!/usr/bin/python3
"""virtio-net with several queue pairs that vireo serves itself, under a stock Debian kernel: scenarios of lab_suite.py,
or by themselves:

	lab_mq.py [--only SCENARIO] mq FOLDER

FOLDER as for lab_suite.py.
"""
import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from harness import Failure, total  # noqa: E402
from lab_context import SCENARIOS, scenario  # noqa: E402
from lab_nics import GUEST_MAC, HOST_MAC, Host, need_stream  # noqa: E402

GROUP = "mq"
SMALL = 8
FLOWS = "env:TMPDIR=/dev/shm,iperf3,-c,10.0.0.1,-t,3,-P,8,-i,0"
BACK = FLOWS + ",-R"
NET = "tap,id=n0,ifname=t0,script=no,downscript=no,vhost=off"


class MqScenario:
    """A guest with a card on a TAP with several queues, and what vireo says of it at each note."""

    def __init__(self, s, queues, checks, device, **more):
        self.s, self.notes = s, {}
        s.ns.shell("ip link delete t0")
        s.ns.tap("t0", "10.0.0.1/24", "vnet_hdr multi_queue")
        s.ns.shell(f"ip link set t0 address {HOST_MAC}; "
                   f"ip neighbour replace 10.0.0.2 lladdr {GUEST_MAC.format(0)} dev t0 nud permanent")
        self.host = Host(s, f"t0:{GUEST_MAC.format(0)}")
        s.stack.callback(self.host.close)
        self.vm = s.start("bookworm", ["boot", "setup", *checks], "-netdev", f"{NET},queues={queues}", "-device",
                          f"virtio-net-pci,netdev=n0,mq=on,mac={GUEST_MAC.format(0)}{device}", nic=None,
                          initrd="bookworm-nics", module_parameters="", **more)

    def answer(self, words):
        command, _, rest = words.partition(" ")
        if command == "note":
            self.notes[rest] = self.vm.monitor.counters()
            return "noted"
        if command == "announce":
            return self.vm.monitor.command("announce_self n0") or "asked"
        return self.host.ask(words)

    def counted(self, begin, end, name, part="queue", card=False):
        """How much a counter of each of the back end's queues, or of the card's queues or pairs, grew from note to
        note."""
        for note in (begin, end):
            if note not in self.notes:
                self.s.need_end()
                raise Failure(f"the guest didn't come to '{note}'")
        owner = next(o for o in self.notes[end] if o.startswith("virtio-net")) if card else "n0"
        before, after = self.notes[begin][owner], self.notes[end][owner]
        return [after[key][name] - before[key][name] for key in sorted(after) if key.startswith(part)]

    def spread(self, begin, end, name, least):
        counts = self.counted(begin, end, name)
        if sum(n >= 100 for n in counts) < least:
            raise Failure(f"{name} from '{begin}' to '{end}': {counts}, not on {least}")

    def sound(self):
        self.s.need_end()
        counters = self.notes["last"]
        if total(counters, "malformed") or total(counters, "latched"):
            raise Failure(f"a ring was malformed: {counters}")

    def end(self, smp):
        self.s.judge_boot(self.vm, smp)
        if self.s.follow(self.vm, self.answer):
            self.s.end(self.vm)


@scenario(GROUP, "boot", "queues", "vectors", "one", "fewer", "offloads", "stream", "announce", "sound", "dmesg", "power-off")
def mq_flows(s):
    """8 flows on 4 queues and 2 vCPUs; one queue, two; offloads and coalescing changed meanwhile."""
    v = MqScenario(s, 4, [
        "ethtool:-l,eth0", "ethtool:-L,eth0,combined,4", "ask:note,begin", FLOWS, BACK, "ask:note,four", "interrupts",
        "ethtool:-L,eth0,combined,1", "ask:note,one", FLOWS, "ask:note,end-of-one", "ethtool:-L,eth0,combined,2",
        f"stream:{SMALL},{SMALL}", "ask:note,end-of-two",
        "ethtool:-K,eth0,rx,off", f"stream:{SMALL * 2},{SMALL}", "ethtool:-K,eth0,rx,on,tso,off",
        "ethtool:-C,eth0,rx-usecs,50,rx-frames,16,tx-usecs,100,tx-frames,32", f"stream:{SMALL},{SMALL * 2}",
        "ethtool:-c,eth0", "ask:announce", "ping_host", "ask:note,last", "complaints"],
        ",vectors=10", smp=2)
    v.end(2)
    with s.judge("queues"):
        s.need(s.section(v.vm, "ethtool:-l,eth0"), r"^Combined:\s+4$")
        v.spread("begin", "four", "tx-packets", 2)
        v.spread("begin", "four", "rx-packets", 2)
    with s.judge("vectors"):
        s.need(s.section(v.vm, "interrupts"), r"PCI-MSI.*virtio\d-input\.3", r"PCI-MSI.*virtio\d-output\.3")
    with s.judge("one"):
        counts = v.counted("one", "end-of-one", "tx-packets"), v.counted("one", "end-of-one", "rx-packets")
        if any(any(c[1:]) for c in counts) or counts[0][0] < 100:
            raise Failure(f"with one queue, frames sent and received: {counts}")
    with s.judge("fewer"):
        counts = v.counted("end-of-one", "end-of-two", "rx-packets")
        if any(counts[2:]) or sum(counts) < 100:
            raise Failure(f"with two queues, frames received: {counts}")
    with s.judge("offloads"):
        need_stream(v.host, s.section(v.vm, f"stream:{SMALL * 2},{SMALL}"), SMALL * 2)
        s.need(s.section(v.vm, "ethtool:-c,eth0"), r"^rx-usecs:\s+50$", r"^tx-frames:\s+32$")
    with s.judge("stream"):
        need_stream(v.host, s.section(v.vm, f"stream:{SMALL},{SMALL}"), SMALL)
        need_stream(v.host, s.section(v.vm, f"stream:{SMALL},{SMALL * 2}"), SMALL)
    with s.judge("announce"):
        s.need(s.section(v.vm, "ask:announce"), r"asked")
        s.need(s.section(v.vm, "ping_host"), r" 0% packet loss")
        if not total(v.notes["last"], "announced"):
            raise Failure("the guest has not announced itself")
    with s.judge("sound"):
        v.sound()
    s.judge_complaints(v.vm)


@scenario(GROUP, "boot", "table", "queues", "steered", "stream", "sound", "dmesg", "power-off")
def mq_rss(s):
    """RSS with hash reports: the guest's own table, all of it to one queue, and spread again."""
    v = MqScenario(s, 4, [
        "ethtool:-L,eth0,combined,4", "ethtool:-x,eth0", "ask:note,begin", BACK, "ask:note,spread",
        "ethtool:-X,eth0,weight,0,0,1,0", "ask:note,weighed", BACK, "ask:note,third",
        "ethtool:-X,eth0,equal,2", f"stream:{SMALL},{SMALL}", "ping_host", "ask:note,last", "complaints"],
        ",rss=on,hash=on,vectors=10", smp=2)
    v.end(2)
    with s.judge("table"):
        s.need(s.section(v.vm, "ethtool:-x,eth0"), r"RX flow hash indirection table for eth0 with 4 RX ring", "toeplitz: on")
    with s.judge("queues"):
        counts = v.counted("begin", "spread", "chains", card=True)[0:8:2]
        if min(counts) < 100:
            raise Failure(f"frames received on each queue: {counts}")
    with s.judge("steered"):
        received = v.counted("weighed", "third", "chains", card=True)[0:8:2]
        if received[2] < 1000 or received[0] + received[1] + received[3] > received[2] // 20:
            raise Failure(f"all flows to the third queue: {received}")
        if sum(v.counted("weighed", "third", "rx-steered", "pair", True)) < 100:
            raise Failure("nothing was handed over")
    with s.judge("stream"):
        need_stream(v.host, s.section(v.vm, f"stream:{SMALL},{SMALL}"), SMALL)
        s.need(s.section(v.vm, "ping_host"), r" 0% packet loss")
    with s.judge("sound"):
        v.sound()
    s.judge_complaints(v.vm)


if __name__ == "__main__":
    import lab_suite
    assert SCENARIOS
    lab_suite.main()
