"""Stock Debian kernels: each result of each scenario of lab_suite.py is a test.

Those of the emulated NICs take some minutes for each driver: they are tests where VIREO_LAB_NICS is set, as the stage
`nics` of tests/run sets it.
"""
import os

import pytest

import harness
import lab_suite

RESULTS = [(scenario, result) for scenario, (_, results, _) in lab_suite.SCENARIOS.items()
           for result in results if not scenario.startswith("nic") or os.environ.get("VIREO_LAB_NICS")]


@pytest.mark.parametrize("scenario,result", RESULTS, ids=[f"{s}-{r}" for s, r in RESULTS])
def test_linux(linux, scenario, result):
    found = linux(scenario, result)
    if not found["ok"]:
        raise harness.Failure(f"{scenario}, {result}: {found['message']}")
