#!/usr/bin/python3
"""UDP segmentation offload between a stock Debian kernel and a host that has it (Linux 6.2): a scenario of
lab_suite.py, or by itself:

	lab_uso.py uso FOLDER

FOLDER as for lab_suite.py. Either side hands its kernel datagrams that are to be cut (tools/udp.c, SEGMENT); the other
one's counts those that come to it. What goes through vireo in between has not been cut: so there are far fewer.
"""
import pathlib
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from harness import Failure, Process, flat  # noqa: E402
from lab_context import SCENARIOS, SILENCE, scenario  # noqa: E402
from lab_udp import LARGE_RMEM, OTHERS, PORT, UDP, UdpScenario  # noqa: E402

GROUP = "uso"
SENDS, RATE, SEGMENTS, SEGMENT = 100, 50, 40, 1448
SIZE = SEGMENTS * SEGMENT
OUT = f"/tests/udp:send,10.0.0.1,{PORT},{SENDS},{SIZE},{RATE},{SEGMENT}"
IN = f"udp:0,0,{LARGE_RMEM},send,0,{SENDS},{RATE}"


class UsoScenario(UdpScenario):
    def send(self, card, count, rate="0"):
        return self.s.ns.run(UDP, "send", f"10.0.{card}.2", PORT, count, SIZE, rate, SEGMENT).strip()

    def answer(self, words):
        command, when = words.split()[:2]
        if command != "note":
            return super().answer(words)
        host = dict(zip(*(line.split()[1:] for line in re.findall(
            "^Udp: .*$", self.s.ns.run("cat", "/proc/net/snmp"), re.MULTILINE))))
        self.counted[when] = {**flat(self.vm.monitor.counters()), **{name: int(n) for name, n in host.items()}}
        return "noted"


def need_uncut(what, cut, frames, errors):
    if cut != SENDS * SEGMENTS or errors or not SENDS <= frames <= SENDS + OTHERS:
        raise Failure(f"{what}: {cut} datagrams came of {SENDS} x {SEGMENTS}, in {frames} frames; wrong: {errors}")


@scenario(GROUP, "boot", "offered", "out", "in", "dmesg", "power-off")
def uso(s):
    """Both ways through a TAP."""
    u = UsoScenario(s, [("vhost=off", "")], [
        IN, "ethtool:-K,eth0,tx-udp-segmentation,on", "ethtool:-k,eth0", "ask:note,begin", OUT, "ask:note,end"],
        kernel="trixie")
    s.stack.callback(Process([UDP, "take", PORT], s.folder, "take", ns=s.ns).close)
    u.run()
    with s.judge("offered"):
        s.need(s.section(u.vm, "ethtool:-k,eth0"), r"^tx-udp-segmentation: on")
    with s.judge("out"):
        s.section(u.vm, "ask:note,end")
        moved = {name: n - u.counted["begin"].get(name, 0) for name, n in u.counted["end"].items()}
        need_uncut("out", moved["InDatagrams"], moved["n0 queue 0 tx-packets"], moved["InErrors"])
    with s.judge("in"):
        flood = u.flood(IN, 0)
        need_uncut("in", flood.taken, flood.moved["n0 queue 0 rx-packets"], flood.guest["InErrors"])
    s.judge_complaints(u.vm)


if __name__ == "__main__":
    import lab_suite
    assert SCENARIOS and SILENCE
    lab_suite.main()
