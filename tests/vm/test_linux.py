"""Stock Debian kernels: each result of each scenario of lab_suite.py is a test.

All of them take most of an hour on two processors, so they're all there with VIREO_LAB_ALL=1 (`make test-lab`) or in full
(VIREO_LAB_FULL=1, `make test-nics`) only; `make test` has the whole of the groups in ALWAYS, and of the others these
scenarios, which between them use each front end and each way of serving it once.
"""
import os

import pytest

import harness
import lab_suite

ALWAYS = ("a", "b", "large")
SOME = ("nic-8139cp", "nic-e1000", "nics-8139too-e100-i82557b-e100-i82559er-ne2k-pci", "vhost-on", "mq-flows")
ALL = os.environ.get("VIREO_LAB_ALL") or os.environ.get("VIREO_LAB_FULL")

RESULTS = [(scenario, result) for scenario, (group, results, _) in lab_suite.SCENARIOS.items() for result in results
           if ALL or group in ALWAYS or scenario in SOME]


@pytest.mark.parametrize("scenario,result", RESULTS, ids=[f"{s}-{r}" for s, r in RESULTS])
def test_linux(linux, scenario, result):
    found = linux(scenario, result)
    if not found["ok"]:
        raise harness.Failure(f"{scenario}, {result}: {found['message']}")
