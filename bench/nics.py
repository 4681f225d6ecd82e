"""The emulated NICs: each boot of the guest runs all tests of a card, one after the other.

What is quoted per frame:
	frames/s	by the guest's clock
	CPU		of all threads of the monitor, less the time in the guest: exits and I/O threads. The kernel
			counts time in the guest by its clock's ticks; so this is of a quiet host only
	exits		returns from the guest to the monitor, by the monitor's own counters (QEMU: KVM's)
"""
import subprocess

from monitor import Monitor, TIMEOUT, reflect, start_peer

SETTLE_MS = 200  # a test's first frame is so much after its start: the figures before are taken, the last peer has gone


class Step:
    """One test of the guest's, and what the host does for it."""

    def __init__(self, name, test, peer=(), reflected=False):
        self.name = name
        self.test = test
        self.peer = peer
        self.reflected = reflected


def send(size, count, name=None, more=""):
    return Step(name or f"out, {size} B", f"net-tx count={count} size={size} delay={SETTLE_MS} stop=0 {more}")


def receive(size, count):
    """As fast as the peer can; what the card has no room for is lost."""
    return Step(f"in, {size} B", f"net-rx count={count} size={size} lossy=1 idle=500 peer=20000",
                peer=("source", "--count", count, "--size", size))


def round_trips(count):
    test = f"net-rtt count={count} size=64 peer=20000 delay={SETTLE_MS}"
    return [Step("round trip, process answers", test, peer=("echo", "--spin", "--count", 0)),
            Step("round trip, kernel answers", test, reflected=True)]


CARDS = {
    "rtl8139": ("rtl8139", [send(64, 20000), send(1500, 20000), receive(64, 100000),
                            receive(1500, 100000)] + round_trips(5000)),
    "rtl8139c+": ("rtl8139", [send(64, 100000), send(1500, 100000), receive(64, 100000),
                              receive(1500, 100000)] + round_trips(5000)),
    "e1000": ("e1000", [send(64, 200000), send(1500, 200000),
                        send(65000, 8000, "out, 64 KiB TSO", "gso=1448"), receive(64, 100000),
                        receive(1500, 100000)] + round_trips(5000)),
}


def has_option(bench, device, name):
    """Does vireo's device have this option?"""
    text = subprocess.run([str(bench.build / "vireo"), "-device", f"{device},help"], timeout=TIMEOUT,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False).stdout
    return f" {name}=" in text


def run_steps(bench, kind, card, device, steps):
    """{step: (fields of the guest's result line, CPU ns, exits)} of one boot."""
    results = {}
    tests = " ".join(f"{step.test} nic={card}" for step in steps)
    monitor = Monitor(bench, kind, tests, device)
    helper = None
    try:
        monitor.line("vireo-guest: ready")
        for step in steps:
            cpu, exits = monitor.cpu_outside_ns(), monitor.exits()
            if step.peer:
                helper = start_peer(bench, *step.peer)
            elif step.reflected and not reflect(True):
                print("bench: this kernel has no tc u32 filter with mirred: it can't answer by itself")
                break
            fields = monitor.line("test=")
            cpu = monitor.cpu_outside_ns() - cpu
            if exits is not None:
                exits = monitor.exits() - exits
            if fields["result"] != "ok":
                raise RuntimeError(f"{kind}: {card}: {step.name}: {fields}")
            results[step.name] = fields, cpu, exits
            if step.reflected:
                reflect(False)
            if helper:
                helper.kill()
                helper.wait()
                helper = None
    finally:
        reflect(False)
        monitor.end()
        if helper:
            helper.kill()
            helper.wait()
    return results


def frames_of(fields):
    return max(int(fields.get("frames", fields.get("round_trips", 0))), 1)


def figures(step, results):
    """[(figure, unit, a run's value)] of one step of one boot."""
    fields, cpu, exits = results[step.name]
    frames = frames_of(fields)
    if "median_ns" in fields:
        found = [("median", "us", int(fields["median_ns"]) / 1000), ("99th", "us", int(fields["p99_ns"]) / 1000)]
    elif "TSO" in step.name:
        found = [("", "Mbit/s", int(fields["mbit_per_s"])), ("CPU", "ns/frame", cpu / frames)]
    else:
        found = [("", "frames/s", int(fields["frames_per_s"])), ("CPU", "ns/frame", cpu / frames)]
    if exits is not None:
        found.append(("exits", "/frame", exits / frames))
    return found


def bench_card(bench, card):
    """All rows of a card: vireo and QEMU; then vireo alone with every access an exit, if it can do without."""
    device, steps = CARDS[card]
    columns = {kind: (kind, device) for kind in bench.kinds}
    if has_option(bench, device, "posted"):
        columns["plain"] = "vireo", f"{device},posted=off"
    runs = {name: [] for name in columns}
    for i in range(bench.runs):
        for name, (kind, words) in columns.items():
            if name != "plain" or i % 2 == 0:  # every other time: it is compared with nothing
                runs[name].append(run_steps(bench, kind, card, words, steps))
    for step in steps:
        values = {}
        for name, boots in runs.items():
            for boot in boots:
                for figure, unit, value in figures(step, boot) if step.name in boot else ():
                    values.setdefault((figure, unit), {}).setdefault(name, []).append(value)
        for (figure, unit), columns_of_row in values.items():
            what = f"{card} {step.name}" + (f", {figure}" if figure else "")
            plain = columns_of_row.pop("plain", None)
            bench.row(what, unit, columns_of_row)
            if plain and figure in ("", "median", "exits"):
                bench.row(what + ", all exit", unit, {"vireo": plain})
