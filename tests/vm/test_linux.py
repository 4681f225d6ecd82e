"""Stock Debian kernels: each result of each scenario of lab_suite.py is a test.

All of them take most of an hour on two processors, so they're all there with VIREO_LAB_ALL=1 (`make test-lab`) or in full
(VIREO_LAB_FULL=1, `make test-nics`) only; `make test` has the whole of the groups in ALWAYS, and of the others these
scenarios.
"""
import os

import pytest

import harness
import lab_suite
import test_ovs

ALWAYS = ("a", "b", "large")
SOME = ("nic-8139cp", "nic-e1000", "vhost-on", "vhost-unit")
ALL = os.environ.get("VIREO_LAB_ALL") or os.environ.get("VIREO_LAB_FULL")

RESULTS = [(scenario, result) for scenario, (group, results, _) in lab_suite.SCENARIOS.items() for result in results
           if ALL or group in ALWAYS or scenario in SOME]


@pytest.mark.parametrize("scenario,result", RESULTS, ids=[f"{s}-{r}" for s, r in RESULTS])
def test_linux(linux, scenario, result):
    if scenario == "vhost-user-switch":
        test_ovs.need_installed()
    found = linux(scenario, result)
    if not found["ok"]:
        raise harness.Failure(f"{scenario}, {result}: {found['message']}")
