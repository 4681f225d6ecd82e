"""How a run of Linux guests is judged that does not go well: with a shell in the place of the guest, and of the lab."""
import json
import warnings

import pytest

import harness
import lab_context
import lab_suite
import linux_groups

FIRST = 'echo "vireo-check: begin one"; echo good; echo "vireo-check: end one status=0 uptime=1.00"; '
SECOND = 'echo "vireo-check: begin two:3"; for i in 1 2 3; do echo "step $i"; sleep 0.3; done; '
THIRD = 'echo "vireo-check: end two:3 status=1 uptime=2.00"; echo "vireo-guest: exit=0"; sleep 60'
DOUBLE_FAULT = 'echo "double fault: 0000 [#1]"; echo "CPU: 0"; echo "RIP: 0010:entry_SYSCALL_64+0x3/0x29"; sleep 60'
FLAGS = 'echo "RSP: 0000:ffffffff9ae03c30 EFLAGS: 011c5486"; sleep 60'
GOOD_FLAGS = 'echo "RSP: 0000:ffffffff9ae03c30 EFLAGS: 00010286"; echo "vireo-guest: exit=1"; sleep 60'
TRIPLE_FAULT = 'echo "vireo: vCPU 1: triple fault, which resets the machine" >&2; sleep 60'


class Shell(lab_context.Context):
    """A scenario whose guest is a shell script."""

    def __init__(self, name, kernels, folder):
        self.name, self.folder = name, folder
        self.done, self.failed, self.first_with, self.stuck = set(), set(), {}, None

    def close(self):
        pass

    def judge_all(self, script):
        """Two checks and the end."""
        with harness.Process(["sh", "-c", script], self.folder, "vireo") as self.vm:
            self.follow(self.vm)
            for check in ("one", "two:3"):
                with self.judge(check):
                    self.section(self.vm, check)
            with self.judge("end"):
                self.need_end()

    def results(self, script, capsys):
        self.judge_all(script)
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return {line["result"]: line["message"] for line in lines if "result" in line}


@pytest.fixture
def shell(folder, monkeypatch):
    monkeypatch.setattr(lab_context, "SILENCE", 0.8)
    monkeypatch.setattr(lab_context, "IN_LAB", True)
    return Shell("shell", None, folder)


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


@pytest.mark.parametrize("fault", [DOUBLE_FAULT, TRIPLE_FAULT, FLAGS])
def test_the_emulators_fault_leaves_open(shell, capsys, fault):
    assert shell.results(FIRST + fault, capsys) == {"one": ""}
    assert not shell.failed


def test_a_crash_before_the_checks(monkeypatch):
    monkeypatch.setattr(lab_context, "IN_LAB", True)
    crash = "[    1.9] Kernel panic - not syncing: VFS: no root\n"
    assert "VFS: no root" in lab_context.emulators_fault(crash, "")
    assert lab_context.emulators_fault("vireo-check: begin boot\n" + crash, "") is None
    monkeypatch.setattr(lab_context, "IN_LAB", False)
    assert lab_context.emulators_fault(crash, "") is None


def test_flags_that_are_possible(shell, capsys):
    assert "two:3" in shell.results(FIRST + GOOD_FLAGS, capsys)


def test_what_failed_before_the_emulators_fault(shell, capsys):
    results = shell.results(FIRST + SECOND + THIRD.replace("sleep 60", TRIPLE_FAULT), capsys)
    assert "'two:3' ended with status 1" in results["two:3"]


def run_scenario(script, monkeypatch, capsys):
    monkeypatch.setattr(lab_suite, "Context", Shell)
    monkeypatch.setitem(lab_suite.SCENARIOS, "s", ("", ("one", "two:3", "end"), lambda s: s.judge_all(script)))
    lab_suite.run("s", None)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [line for line in lines if "again" in line], {
        line["result"]: line["ok"] for line in lines if "result" in line}


@pytest.mark.usefixtures("shell")
def test_what_is_left_open_is_tried_again(folder, monkeypatch, capsys):
    well = SECOND + THIRD.replace("status=1", "status=0")
    script = f"{FIRST} if [ -e '{folder}/again' ]; then {well}; else touch '{folder}/again'; {TRIPLE_FAULT}; fi"
    again, results = run_scenario(script, monkeypatch, capsys)
    assert len(again) == 1 and "vCPU 1: triple fault" in again[0]["again"]
    assert results == {"one": True, "two:3": True, "end": True}


@pytest.mark.usefixtures("shell")
def test_the_emulators_fault_again_and_again(monkeypatch, capsys):
    again, results = run_scenario(FIRST + TRIPLE_FAULT, monkeypatch, capsys)
    assert len(again) == 2
    assert results == {"one": True, "two:3": False, "end": False}


@pytest.mark.usefixtures("shell")
def test_no_fault_hides_a_failure(monkeypatch, capsys):
    script = SECOND + THIRD.replace('echo "vireo-guest: exit=0"; sleep 60', TRIPLE_FAULT)
    again, results = run_scenario(script, monkeypatch, capsys)
    assert not again and results == {"one": False, "two:3": False, "end": False}


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
