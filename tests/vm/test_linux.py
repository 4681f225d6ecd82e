"""Stock Debian kernels: each result of each scenario of lab_suite.py is a test."""
import pytest

import harness
import lab_suite

RESULTS = [(scenario, result) for scenario, (_, results, _) in lab_suite.SCENARIOS.items() for result in results]


@pytest.mark.parametrize("scenario,result", RESULTS, ids=[f"{s}-{r}" for s, r in RESULTS])
def test_linux(linux, scenario, result):
    found = linux(scenario, result)
    if not found["ok"]:
        raise harness.Failure(f"{scenario}, {result}: {found['message']}")
