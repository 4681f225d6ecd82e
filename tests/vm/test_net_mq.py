"""virtio-net with several queue pairs, and what its control queue does about nonsense."""
import pytest

import harness
from test_net import DRIVERS, TRANSPORTS

EVERYTHING = ",mq=on,rss=on,hash=on"


def nic(queues, options):
    return ("-netdev", f"tap,id=n0,ifname=mq0,script=no,downscript=no,queues={queues}",
            "-device", f"virtio-net-pci,netdev=n0{options}")


@pytest.mark.parametrize("queues", [2, 4, 16])
@pytest.mark.parametrize("threads", ["own", "shared"])
def test_every_queue_sends(start, ns, queues, threads):
    """1 to all queues; what isn't in use doesn't send. Each queue's frames are counted as its own."""
    shared = ("-object", "iothread,id=io0") if threads == "shared" else ()
    options = ",mq=on" + (",iothread=io0" if shared else "")
    vm = start(*harness.guest_args("net-mq count=200 end=halt"), *shared, *nic(queues, options), ns=ns)
    vm.wait_for("vireo-guest: done passed=1 failed=0", 60)
    assert int(vm.result("net-mq")["pairs"]) == queues
    sent = [vm.monitor.counters()["n0"][f"queue {i}"] for i in range(queues)]
    for i, queue in enumerate(sent):
        # its own share in each round that it is part of, and the frame that waited for it
        assert queue["tx-packets"] + queue["tx-dropped-down"] == 200 * (queues - i) + (i > 0), sent


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_transports(guest, ns, transport):
    guest(f"net-mq transport={DRIVERS[transport][0]} count=100", *nic(4, ",mq=on" + TRANSPORTS[transport]), ns=ns)


@pytest.mark.parametrize("words", ["transport=modern", "transport=legacy", "packed=1"])
def test_hostile(guest, ns, words):
    options = EVERYTHING + (",packed=on" if "packed" in words else "")
    vm = guest(f"hostile device=net-ctrl {words}", *nic(4, options), ns=ns, timeout=150)
    assert int(vm.result("hostile")["cases"]) > 30


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_commands(guest, ns, seed):
    guest(f"hostile device=net-ctrl what=ctrl-random seed={seed} count=3000", *nic(4, EVERYTHING), ns=ns, timeout=120)
