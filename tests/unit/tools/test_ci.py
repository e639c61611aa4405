"""The run of all suites: budgets, what is skipped and why, and what it says in the end."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import build_cache
import ci
import pytest

ROOT = Path(__file__).resolve().parents[3]
OK, BAD = (("true",),), (("false",),)


@pytest.fixture
def quick(monkeypatch):
    """A minute of a fifth of a second, and a patience to match."""
    monkeypatch.setattr(ci, "MINUTE_S", 0.2)
    monkeypatch.setattr(ci, "END_GRACE_S", 0.5)


def test_every_suite_runs_though_one_fails(capfd):
    suites = (ci.Suite("one", 1, BAD), ci.Suite("two", 1, OK), ci.Suite("three", 1, BAD))
    assert ci.main(suites) == 1
    lines = capfd.readouterr().out.splitlines()
    assert lines[-2:] == ["FAILED: one", "FAILED: three"]
    assert "two passed, took 0.0 min of 1" in lines
    assert "one FAILED (exit status 1), took 0.0 min of 1" in lines


def test_all_is_well(capfd):
    assert ci.main((ci.Suite("one", 1, OK),)) == 0
    assert capfd.readouterr().out.splitlines()[-1] == "every suite that can run here passed"


def test_the_rest_of_a_suite_does_not_run_after_a_failure(tmp_path):
    file = tmp_path / "made"
    assert ci.main((ci.Suite("one", 1, (*BAD, ("touch", str(file)))),)) == 1
    assert not file.exists()
    assert ci.main((ci.Suite("one", 1, (*OK, ("touch", str(file)))),)) == 0
    assert file.exists()


def test_a_budget_missed_by_half_is_named_as_a_defect_and_fails_nothing(quick, capfd):
    suites = (ci.Suite("slow", 1, (("sleep", "0.4"),)), ci.Suite("fast", 3, (("sleep", "0.4"),)))
    assert ci.main(suites) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line for line in lines if "DEFECT" in line and line.startswith("slow")]
    assert not [line for line in lines if "DEFECT" in line and line.startswith("fast")]


@pytest.mark.parametrize(("minute", "skipped"), [(74.9, False), (75.1, True)])
def test_none_begins_after_minute_75(minute, skipped):
    reason = ci.why_not(ci.Suite("one", 1, OK), minute * 60)
    assert (reason is not None) is skipped
    assert not skipped or "minute 75" in reason


@pytest.mark.parametrize(("uid", "skipped"), [(1000, True), (0, False)])
def test_what_needs_root_is_skipped_without(uid, skipped, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    reason = ci.why_not(ci.Suite("one", 1, OK, root="to start Incus"), 0)
    assert reason == ("needs root to start Incus" if skipped else None)


def test_a_suite_whose_slow_build_is_not_in_the_cache_is_skipped(tmp_path, monkeypatch, capfd):
    build = build_cache.Build("prog", "v1", "an hour")
    suite = ci.Suite("one", 1, BAD, builds=(build,))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert ci.main((suite,)) == 0
    said = capfd.readouterr().out
    assert "one SKIPPED: prog v1 is not in the cache, and building it takes an hour" in said
    build_cache.take(build, tmp_path / "prog", lambda place: (place / "prog").touch())
    assert ci.main((suite,)) == 1, "it runs"


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_still_runs_near_the_end_is_ended_and_so_are_its_children(quick, tmp_path):
    pid = tmp_path / "pid"
    script = f"trap '' TERM; sleep 600 & echo $! > {pid}; wait; sleep 600"
    failure = ci.run(("sh", "-c", script), time.monotonic() + 0.5)
    assert failure == f"ended at minute {ci.END_MIN}"
    deadline = time.monotonic() + 10
    while is_alive(int(pid.read_text())):  # killed, and the kernel has yet to end it
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_nobody_answers_its_questions():
    assert ci.run(("sh", "-c", "! read line"), time.monotonic() + 30) is None


def test_the_budgets_are_those_of_the_page():
    page = (ROOT / "docs" / "numbers.md").read_text()
    rows = dict(re.findall(r"^\| `?([\w -]+?)`? \| (\d+) min \|", page, re.MULTILINE))
    assert rows.pop("all suites") == str(ci.BUDGET_MIN)
    assert rows == {suite.name: str(suite.budget_min) for suite in ci.SUITES}
    assert sum(suite.budget_min for suite in ci.SUITES) <= ci.BUDGET_MIN


def test_every_target_of_the_makefile_that_it_calls_exists():
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    called = [
        word
        for suite in ci.SUITES
        for program, *words in suite.commands
        if program == "make"
        for word in words
        if "=" not in word
    ]
    assert len(called) >= len(ci.SUITES)
    assert set(called) <= set(targets)


def test_ci_calls_it():
    script = (ROOT / ".ci" / "run").read_text()
    assert "tools/ci.py" in script
    subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=True, timeout=60)
    argv = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT / 'tools')!r});"]
    argv[-1] += "import ci"
    subprocess.run(argv, check=True, timeout=60)
