"""Register accesses that don't exit, on the card posted-test: src/dev/posted_test.c, guest/test_posted.c."""
import os
import pathlib
import time

import harness

DONE = "vireo-guest: done passed=1 failed=0"


def run(start, device="posted-test", *more):
    """Runs the guest's test; its VM, which has nothing more to do."""
    vm = start(*harness.guest_args("posted end=halt"), *more, "-device", device)
    vm.wait_for(DONE, 60)
    return vm


def counted(vm):
    """The bus's counters, and the card's."""
    found = vm.monitor.counters()
    return found["machine"]["bus"], next(c["posted"] for name, c in found.items() if name.startswith("posted-test"))


def processor_time(vm):
    """Seconds that a VM's process has used."""
    fields = pathlib.Path(f"/proc/{vm.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_order(start, kvm):
    """The guest finds all that it wrote, in order; and some of it, how much is up to what else runs here, took no exit."""
    vm = run(start)
    bus, card = counted(vm)
    assert card["posted"] == bus["mmio-posted"] + bus["pio-posted"]
    assert bus["posted-lost"] == 0
    assert card["bells"] > 10
    if card["posted"]:  # else this host's KVM can't
        assert bus["mmio-posted"] > 100 and bus["pio-posted"] > 0, vm.failure("hardly anything was posted")
        assert card["engagements"] > 0 and card["engaged-us"] > 0 and card["shadows"] > 0


def test_quiet(start, kvm):
    """When the guest is quiet nobody polls."""
    vm = run(start)

    def sleeps():
        before = processor_time(vm)
        time.sleep(0.5)
        return processor_time(vm) - before < 0.05
    harness.wait_until(sleeps, "a vireo that sleeps", 20)
    before = counted(vm)
    assert sleeps()
    assert counted(vm) == before


def test_thread_that_may_not_spin(start, kvm):
    """Every write exits, and the answers are the same."""
    vm = run(start, "posted-test,iothread=t", "-object", "iothread,id=t,poll-max-ns=0")
    bus, card = counted(vm)
    assert card["posted"] == 0 and card["engagements"] == 0
    assert bus["posted-lost"] == 0 and card["bells"] > 10


def test_resets(guest, kvm):
    """A machine that is reset soon after, again and again."""
    vm = guest("posted count=3000 reboot count=5", "-device", "posted-test")
    assert vm.result("reboot")["reboots"] == "5"
    assert vm.output.count("test=posted result=ok") == 6
