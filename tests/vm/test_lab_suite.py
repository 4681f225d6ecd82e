"""How a run of Linux guests is judged that does not go well: with a shell in the place of the guest, and of the lab."""
import json
import warnings

import pytest

import harness
import lab_context
import linux_groups

FIRST = 'echo "vireo-check: begin one"; echo good; echo "vireo-check: end one status=0 uptime=1.00"; '
SECOND = 'echo "vireo-check: begin two:3"; for i in 1 2 3; do echo "step $i"; sleep 0.3; done; '
THIRD = 'echo "vireo-check: end two:3 status=1 uptime=2.00"; echo "vireo-guest: exit=0"; sleep 60'
FAULT = 'echo "double fault: 0000 [#1]"; echo "CPU: 0"; echo "RIP: 0010:entry_SYSCALL_64+0x3/0x29"; sleep 60'


class Shell(lab_context.Context):
    """A scenario whose guest is a shell script."""

    def __init__(self, folder):
        self.name = "shell"
        self.folder = folder
        self.done, self.first_with, self.stuck = set(), {}, None

    def results(self, script, capsys):
        """What two checks and the end come to."""
        with harness.Process(["sh", "-c", script], self.folder, "vireo") as vm:
            self.follow(vm)
            for check in ("one", "two:3"):
                with self.judge(check):
                    self.section(vm, check)
            with self.judge("end"):
                self.need_end()
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return {line["result"]: line["message"] for line in lines}


@pytest.fixture
def shell(folder, monkeypatch):
    monkeypatch.setattr(lab_context, "SILENCE", 0.8)
    monkeypatch.setattr(lab_context, "IN_LAB", True)
    return Shell(folder)


def test_a_guest_that_goes_on_has_all_the_time(shell, capsys):
    results = shell.results(FIRST + SECOND + THIRD, capsys)
    assert results["one"] == results["end"] == ""
    assert "'two:3' ended with status 1" in results["two:3"]


@pytest.mark.parametrize("end,why", [("sleep 60", "nothing on its console"), ("exit 3", "has ended")])
def test_a_guest_that_stops(shell, capsys, end, why):
    results = shell.results(FIRST + SECOND + end, capsys)
    assert results["one"] == ""
    assert "in its check 'two:3'" in results["two:3"] and why in results["two:3"]
    assert "step 3" in results["two:3"]
    assert results["end"] == "as shell, two:3"


def test_idle_lines_are_no_progress(shell, capsys):
    idle = ('while sleep 0.2; do echo "[  5]   3.00-4.00   sec  0.00 Bytes  0.00 bits/sec"; '
            'echo "[  120.5] INFO: task"; done')
    assert "nothing on its console" in shell.results(FIRST + SECOND + idle, capsys)["two:3"]


def test_a_check_has_a_limit(shell, capsys, monkeypatch):
    monkeypatch.setattr(lab_context, "CHECK_LIMIT", 1.5)
    slow = "while sleep 0.2; do echo slow; done"
    assert "not through" in shell.results(FIRST + SECOND + slow, capsys)["two:3"]


def test_the_emulators_fault_is_no_result(shell, capsys):
    with pytest.raises(lab_context.LabFault):
        shell.results(FIRST + FAULT, capsys)
    assert capsys.readouterr().out == ""


def line(result, ok):
    return json.dumps({"scenario": "s", "result": result, "ok": ok, "message": ""})


def group(folder, first_time, then):
    """A group whose command does one thing, and when run again the other."""
    script = f"if [ -e '{folder}/again' ]; then {then}; else touch '{folder}/again'; {first_time}; fi"
    return linux_groups.Group("nameless", ["sh", "-c", script], 20, folder)


def test_a_lab_that_fails_is_run_again(folder):
    bad, good = line("x", False), line("x", True)
    run = group(folder, f"echo '{bad}'; sleep 0.5; echo 'lab/run: L1 hangs' >&2; exit 125", f"echo '{good}'")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert run.result("s", "x")["ok"]
    assert "L1 hangs" in str(caught[0].message)


def test_a_lab_that_fails_twice(folder):
    run = group(folder, "exit 125", "exit 125")
    with warnings.catch_warnings(), pytest.raises(harness.Failure):
        warnings.simplefilter("ignore")
        run.result("s", "x")


@pytest.mark.parametrize("status", [0, 1, 124])
def test_what_fails_in_a_lab_that_does_not_is_final(folder, status):
    bad, good = line("x", False), line("x", True)
    run = group(folder, f"echo '{bad}'; sleep 0.3; exit {status}", f"echo '{good}'")
    assert not run.result("s", "x")["ok"]
    assert run.tries == 1


def test_what_fails_is_final_when_its_scenario_is_over(folder):
    over = json.dumps({"scenario": "s", "seconds": 1})
    run = group(folder, f"echo '{line('x', False)}'; echo '{over}'; sleep 5; exit 125", "exit 0")
    assert not run.result("s", "x")["ok"]
    run.process.close()
