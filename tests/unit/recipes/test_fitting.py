"""What a run writes is what its readers take: the runner, and the dashboard's pages."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from recipe_engines import order

from agency.recipes.dashboard.files import MOST_RESULT as MOST_OF_PAGES
from agency.recipes.dashboard.views.result import read_result
from agency.recipes.engine.port import Phase, Status
from agency.recipes.engine.result import MAX_BYTES, judge, read_evidence
from agency.recipes.facts import DeployedImage, Deployment, Facts
from agency.recipes.outcome import CaseResult, Outcome, StageResult, Teardown
from agency.recipes.record.run import Run, RunState
from agency.recipes.run.conduct import write_result
from agency.recipes.run.report import Report, fitted

RUN = Run("r00000001", 1, order(7), RunState.RUNNING, 0)
GOOD = CaseResult("tests/test_api.py::test_every_page_is_served[page]", Outcome.PASS, 0.01)
BAD = CaseResult("tests/test_api.py::test_one[bad]", Outcome.FAIL, 0.01, "assert 500 == 200" * 50)


def report(*tests: CaseResult, outcome: Outcome = Outcome.PASS, **more: object) -> Report:
    reason = "" if outcome is Outcome.PASS else "it failed"
    stage = StageResult("custom", outcome, 9.0, reason, tests)
    values = {"stages": (stage,), "teardown": Teardown(), "facts": Facts()} | more
    return Report(
        RUN.id, "wiki", "0" * 40, False, "d", "abra", "now", 9.0, artifacts="a", **values
    )  # fmt: skip


@pytest.mark.parametrize(
    ("made", "ended", "state"),
    [
        (report(*[GOOD] * 20_000), Phase.PASSED, RunState.PASSED),
        (report(*[BAD] * 3000, outcome=Outcome.FAIL), Phase.FAILED, RunState.FAILED),
    ],
    ids=["passed", "failed"],
)
def test_a_run_of_many_tests_is_judged_by_them(
    made: Report, ended: Phase, state: RunState, tmp_path: Path
) -> None:
    (tmp_path / "logs").mkdir()
    write_result(made, tmp_path)
    verdict = judge(RUN, Status(ended), None, read_evidence(tmp_path, RUN.id), 60)
    assert (verdict.state, verdict.reason) == (
        state,
        "" if state is RunState.PASSED else "custom: it failed",
    )


def test_what_went_wrong_stays_and_what_is_left_out_is_counted() -> None:
    tests = [*[GOOD] * 5000, BAD, *[GOOD] * 5000, BAD]
    text = fitted(report(*tests, outcome=Outcome.FAIL))
    assert len(text) <= MAX_BYTES <= MOST_OF_PAGES
    (stage,) = read_result(text).stages
    assert [one.outcome for one in stage.tests].count("fail") == 2
    assert stage.left_out == {"pass": 10_002 - len(stage.tests)}
    assert (stage.passed, stage.all_tests) == (10_000, 10_002)


def test_a_result_that_fits_is_whole() -> None:
    made = report(GOOD, BAD, GOOD, outcome=Outcome.FAIL)
    document = json.loads(fitted(made))
    assert document == json.loads(json.dumps(made.as_dict()))
    assert [one["outcome"] for one in document["stages"][0]["tests"]] == ["pass", "fail", "pass"]
    assert document["stages"][0]["tests_left_out"] == {}


def test_half_a_character_in_a_result_keeps_nobody_from_reading_it(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    bad = replace(BAD, name="test_\udcff.py")
    write_result(report(bad, outcome=Outcome.FAIL), tmp_path)
    verdict = judge(RUN, Status(Phase.FAILED), None, read_evidence(tmp_path, RUN.id), 60)
    assert (verdict.state, verdict.reason) == (RunState.FAILED, "custom: it failed")
    assert "test_?.py" in (tmp_path / "result.json").read_text()


@pytest.mark.parametrize(
    "more",
    [
        {"stages": (StageResult("install", Outcome.FAIL, 1.0, "\U0001f525" * 10**6),)},
        {"stages": (StageResult("install", Outcome.PASS, notes=("x" * 9000,) * 9000),)},
        {"teardown": Teardown(left=("volume " + "x" * 300,) * 30_000)},
        {"version": "1" * 2 * MAX_BYTES},
        {"facts": Facts((Deployment("v", "l", (DeployedImage("s", "i" * 9000, "d"),) * 50),) * 20)},
    ],
    ids=["a reason", "notes", "what is left", "a version", "images"],
)
def test_nothing_makes_it_too_large_for_its_readers(more: dict[str, object]) -> None:
    text = fitted(report(**more))
    assert len(text.encode()) <= MAX_BYTES
    assert read_result(text).there
