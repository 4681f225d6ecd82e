#!/usr/bin/python3
"""virtio-net with vhost-net under stock Debian kernels: scenarios of lab_suite.py, or by themselves:

	lab_vhost.py [--only SCENARIO] vhost FOLDER

FOLDER as for lab_suite.py. They need the host's module vhost_net, and strace.
"""
import contextlib
import os
import pathlib
import re
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from harness import BUILD, Failure, Process, tail, total, wait_until  # noqa: E402
from lab_context import SCENARIOS, SILENCE, scenario  # noqa: E402
from lab_nics import GUEST_MAC, HOST_MAC, Host, need_stream  # noqa: E402

GROUP = "vhost"
MIB, ROUND = 256, 32  # each way; a check is to say something now and then
IPERF_MIB, TRACED_MIB = 64, 12
SMALL = 2
FLOWS = "env:TMPDIR=/dev/shm,iperf3,-c,10.0.0.1,-t,4,-P,8,-i,0"
NET = "tap,id=n0,ifname=t0,script=no,downscript=no"


class VhostScenario:
    """One guest whose card is on a TAP, and what vireo and the host say of it."""

    def __init__(self, s, netdev, checks, device="", queues=1, **more):
        self.s, self.notes = s, {}
        subprocess.run(["modprobe", "vhost_net"], check=False)
        if queues > 1:
            s.ns.shell("ip link delete t0")
            s.ns.tap("t0", "10.0.0.1/24", "vnet_hdr multi_queue")
        s.ns.shell(f"ip link set t0 address {HOST_MAC}; "
                   f"ip neighbour replace 10.0.0.2 lladdr {GUEST_MAC.format(0)} dev t0 nud permanent")
        self.host = Host(s, f"t0:{GUEST_MAC.format(0)}")
        s.stack.callback(self.host.close)
        self.vm = s.start("bookworm", ["boot", "setup", *checks], "-netdev", f"{NET}{netdev}", "-device",
                          f"virtio-net-pci,netdev=n0,mac={GUEST_MAC.format(0)}{device}", nic=None,
                          initrd="bookworm-nics", module_parameters="", **more)

    # ---- what the guest asks for ----

    def answer(self, words):
        command, _, rest = words.partition(" ")
        if command == "note":
            self.notes[rest] = self.state()
            return "noted"
        if command == "link":
            nic = re.search(r"^id: (\S+)", self.vm.monitor.command("info network"), re.MULTILINE)[1]
            self.vm.monitor.command(f"set_link {nic} {rest}")
            return f"link {rest}"
        if command == "trace":
            return self.trace(rest == "on")
        return self.host.ask(words)

    def state(self):
        """Who moves the frames now, as all sides see it."""
        network = self.vm.monitor.command("info network")
        vhost = re.search(r"^\s*vhost: (.*)$", network, re.MULTILINE)
        files = []
        for name in os.listdir(f"/proc/{self.vm.pid}/fd"):
            with contextlib.suppress(OSError):
                files.append(os.readlink(f"/proc/{self.vm.pid}/fd/{name}"))
        modules = pathlib.Path("/proc/modules").read_text(encoding="ascii")
        used = re.search(r"^vhost_net \d+ (\d+)", modules, re.MULTILINE)
        return {"vhost": vhost[1] if vhost else network, "open": files.count("/dev/vhost-net"),
                "module": int(used[1]) if used else 0, "frames": self.frames(),
                "counters": self.vm.monitor.counters()}

    def frames(self):
        text = self.host.ask("counters t0")
        return sum(int(n) for n in re.findall(r"tap_[rt]x=(\d+)", text))

    def exits(self):
        return total(self.vm.monitor.counters()["machine"], "exits")

    def trace(self, begin):
        """strace of all of vireo's threads; its table."""
        if begin:
            self.tracer = Process(["strace", "-c", "-f", "-p", self.vm.pid], self.s.folder, "strace")
            wait_until(lambda: "attached" in self.tracer.errors, "strace", SILENCE)
            self.notes["traced"] = self.frames(), self.exits()
            return "traced"
        self.notes["traced"] = self.frames() - self.notes["traced"][0], self.exits() - self.notes["traced"][1]
        self.tracer.process.terminate()
        self.tracer.wait(SILENCE)
        self.notes["calls"] = self.tracer.errors
        return "not traced any more"

    def follow(self):
        if self.s.follow(self.vm, self.answer):
            return True
        self.say_where_it_stands()
        return False

    def say_where_it_stands(self):
        """For a guest that came to a stop: what the host sees of its connections and of who is to move its frames."""
        say = self.s.ns.shell("ip -s link show t0; ss -tnoi; "
                              "ps -eLo stat,pcpu,time,comm | grep -E 'vhost|vcpu|io-'; true")
        print(say, file=sys.stderr, flush=True)

    # ---- judgements ----

    def boot(self, smp=1):
        self.s.judge_boot(self.vm, smp)

    def expect(self, note, vhost, module=True):
        state = self.notes.get(note)
        if not state:
            self.s.need_end()
            raise Failure(f"the guest didn't come to '{note}'")
        if not re.fullmatch(vhost, state["vhost"]) or bool(state["module"] and state["open"]) != module:
            raise Failure(f"at '{note}': vhost: {state['vhost']}, {state['open']} open devices, "
                          f"{state['module']} users of the module; expected: {vhost}")
        return state

    def stream(self, mib, check=None):
        need_stream(self.host, self.s.section(self.vm, check or f"stream:{mib},{mib}"), mib)

    def sound(self, note):
        """Nothing latched until then."""
        counters = self.notes[note]["counters"]
        if total(counters, "malformed") or total(counters, "latched"):
            raise Failure(f"a ring was malformed: {counters}")


@scenario(GROUP, "boot", "on", "ping", "stream", "iperf3", "no-system-calls", "link", "reloads", "restart", "dmesg",
          "power-off")
def vhost_on(s):
    """vhost=on: everything that a person would look at; reload, cable and reboot under traffic."""
    v = VhostScenario(s, ",vhost=on", [
        "ask:note,on", "ping_host", f"stream:{MIB},{ROUND}", f"iperf:{IPERF_MIB}",
        "ethtool:-K,eth0,tso,off,gso,off", "ask:trace,on", f"iperf:{TRACED_MIB}", "ask:trace,off",
        "ethtool:-K,eth0,tso,on,gso,on",
        "ask:link,off", "ask:note,out", "ask:link,on", "carrier:1,eth0", "ask:note,in", "ping_host:2",
        "reloads:virtio_net,4,200,2", "ask:note,reloaded", "complaints",
        "restart:200", "setup", "ask:note,restarted", "ping_host:4", f"stream:{SMALL},{SMALL}"],
        reboots=True)
    v.boot()
    v.follow()
    with s.judge("on"):
        state = v.expect("on", "on")
        if total(state["counters"], "tx-syscalls"):
            raise Failure(f"vireo has sent frames itself:\n{state['counters']}")
    with s.judge("ping"):
        s.need(s.section(v.vm, "ping_host"), r" 0% packet loss")
    with s.judge("stream"):
        v.stream(MIB, f"stream:{MIB},{ROUND}")
    s.judge_iperf(v.vm, IPERF_MIB)
    with s.judge("no-system-calls"):
        s.section(v.vm, "ask:trace,off")
        calls = {name: int(n) for n, name in re.findall(
            r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+)(?: +\d+)? (\w+)$", v.notes["calls"], re.MULTILINE)}
        calls.pop("total", None)
        frames, exits = v.notes["traced"]
        # What the guest writes to its console costs exits, and calls for each: but nothing else does.
        console = sum(calls.pop(name, 0) for name in ("ioctl", "write", "futex", "epoll_wait", "epoll_pwait2"))
        if frames < TRACED_MIB * 600 or sum(calls.values()) > 100 or console > 4 * exits + 200:
            raise Failure(f"{frames} frames, {exits} exits, and these calls:\n{tail(v.notes['calls'])}")
    with s.judge("link"):
        v.expect("out", "fallback: the cable is out")
        v.expect("in", "on")
        s.need(s.section(v.vm, "ping_host:2"), r" 0% packet loss")
    with s.judge("reloads"):
        s.need(s.section(v.vm, "reloads:virtio_net,4,200,2"), r"^loaded 4 times$", r"^it works$")
        v.expect("reloaded", "on")
    with s.judge("restart"):
        v.expect("restarted", "on")
        s.need(s.section(v.vm, "ping_host:4"), r" 0% packet loss")
        v.stream(SMALL)
        v.sound("restarted")
    s.judge_complaints(v.vm)
    s.end(v.vm)


def one_form(s, netdev, note, vhost, module=True, **more):
    """A short look at one way to ask for it."""
    v = VhostScenario(s, netdev, ["ask:note,up", "ping_host", f"stream:{SMALL},{SMALL}", "interrupts", "complaints"],
                      **more)
    v.boot()
    s.end(v.vm) if v.follow() else None
    with s.judge(note):
        v.expect("up", vhost, module)
        s.need(s.section(v.vm, "ping_host"), r" 0% packet loss")
        v.stream(SMALL)
    s.judge_complaints(v.vm)
    return v


@scenario(GROUP, "unit")
def vhost_unit(s):
    """The unit test of net/vhost_net.c, which needs the host's module."""
    subprocess.run(["modprobe", "vhost_net"], check=False)
    with s.judge("unit"):
        done = subprocess.run([BUILD / "tests" / "unit" / "test_vhost_net"], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=120, check=False)
        if done.returncode or "SKIPPED" in done.stdout:
            raise Failure(done.stdout)


@scenario(GROUP, "boot", "auto", "dmesg", "power-off")
def vhost_auto(s):
    """Neither asked for nor refused: it is used."""
    one_form(s, "", "auto", "on")


@scenario(GROUP, "boot", "off", "dmesg", "power-off")
def vhost_off(s):
    one_form(s, ",vhost=off", "off", "off", False)


@scenario(GROUP, "boot", "fallback", "word", "dmesg", "power-off")
def vhost_nomsi(s):
    """A driver without MSI-X: vireo moves the frames, and says so."""
    v = one_form(s, ",vhost=on", "fallback", "fallback: no MSI-X", append="pci=nomsi")
    with s.judge("word"):
        s.need(v.vm.errors, r"^vireo: virtio-net-pci\.0: netdev n0: vhost is not used \(no MSI-X\)")


@scenario(GROUP, "boot", "forced", "pin", "dmesg", "power-off")
def vhost_forced(s):
    """The same, forced: vhost all the same, its interrupts passed on to the pin."""
    v = one_form(s, ",vhostforce=on", "forced", "on", append="pci=nomsi")
    with s.judge("pin"):
        s.need(s.section(v.vm, "interrupts"), r"IO-APIC.*virtio\d")


@scenario(GROUP, "boot", "no-header", "dmesg", "power-off")
def vhost_no_header(s):
    """A TAP without headers: vhost makes them."""
    s.ns.shell("ip link delete t0")
    s.ns.tap("t0", "10.0.0.1/24", "")
    one_form(s, ",vhost=on,vnet_hdr=off", "no-header", "on")


@scenario(GROUP, "boot", "queues", "used", "fewer", "stream", "dmesg", "power-off")
def vhost_queues(s):
    """Four queues on two vCPUs, then one, then two: each flow has its queue, and each pair its vhost."""
    v = VhostScenario(s, ",vhost=on,queues=4", [
        "ask:note,up", "ethtool:-L,eth0,combined,4", "ask:note,four", FLOWS, "interrupts",
        "ethtool:-L,eth0,combined,1", "ping_host:2", f"stream:{SMALL},{SMALL}", "ethtool:-L,eth0,combined,2",
        f"stream:{SMALL * 2},{SMALL}", "ping_host:4", "complaints"],
        device=",mq=on,vectors=10", queues=4, smp=2)
    v.boot(2)
    s.end(v.vm) if v.follow() else None
    with s.judge("queues"):
        v.expect("up", "on")
        if v.expect("four", "on")["open"] != 4:
            raise Failure(f"there are {v.notes['four']['open']} open vhost devices")
    with s.judge("used"):
        text = s.section(v.vm, "interrupts")
        counts = [sum(map(int, numbers.split())) for numbers in re.findall(
            r"^ *\d+:((?: +\d+)+) .*virtio\d-(?:input|output)\.\d$", text, re.MULTILINE)]
        if sum(n > 10 for n in counts) < 4:
            raise Failure(f"interrupts of the queues: {counts}\n{text}")
    with s.judge("fewer"):
        for check in ("ping_host:2", "ping_host:4"):
            s.need(s.section(v.vm, check), r" 0% packet loss")
    with s.judge("stream"):
        v.stream(SMALL)
        v.stream(SMALL * 2, f"stream:{SMALL * 2},{SMALL}")
    s.judge_complaints(v.vm)


def ring_sizes(s, vhost):
    """Large rings, and their sizes changed while the card is up: each time its queues are reset one by one."""
    v = VhostScenario(s, f",vhost={vhost}", [
        "ask:note,up", "ethtool:-g,eth0", "ping_host", "ethtool:-G,eth0,rx,256,tx,128", "ping_host:2",
        f"stream:{SMALL},{SMALL}", "ethtool:-G,eth0,rx,4096,tx,2048", "ping_host:4", f"stream:{SMALL * 2},{SMALL}",
        "ask:note,end", "complaints"], device=",rx_queue_size=4096,tx_queue_size=2048")
    v.boot()
    s.end(v.vm) if v.follow() else None
    with s.judge("sizes"):
        v.expect("up", vhost, vhost == "on")
        v.expect("end", vhost, vhost == "on")
        s.need(s.section(v.vm, "ethtool:-g,eth0"), r"^RX:\s+4096$", r"^TX:\s+2048$")
        s.section(v.vm, "ethtool:-G,eth0,rx,256,tx,128")
        s.section(v.vm, "ethtool:-G,eth0,rx,4096,tx,2048")
        v.sound("end")
    with s.judge("ping"):
        for check in ("ping_host", "ping_host:2", "ping_host:4"):
            s.need(s.section(v.vm, check), r" 0% packet loss")
    with s.judge("stream"):
        v.stream(SMALL)
        v.stream(SMALL * 2, f"stream:{SMALL * 2},{SMALL}")
    s.judge_complaints(v.vm)


@scenario(GROUP, "boot", "sizes", "ping", "stream", "dmesg", "power-off")
def vhost_ring_sizes(s):
    ring_sizes(s, "on")


@scenario(GROUP, "boot", "sizes", "ping", "stream", "dmesg", "power-off")
def ring_sizes_without_vhost(s):
    ring_sizes(s, "off")


if __name__ == "__main__":
    import lab_suite
    assert SCENARIOS
    lab_suite.main()
