"""The verdict on a run: without a result it is never a pass, whatever its build says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recipe_engines import order, result_of

from agency.recipes.engine.port import Phase, Status
from agency.recipes.engine.result import MAX_BYTES, Ending, Evidence, judge, read_evidence
from agency.recipes.record.run import Run, RunState

RUN = Run("r00000001", 1, order(7), RunState.RUNNING, 0)
NOTHING = Evidence(None, None, "there is no result", ())


def read(place: Path, text: str | None, log: str = "") -> Evidence:
    (place / "logs").mkdir(exist_ok=True)
    (place / "logs" / "progress.log").write_text(log)
    if text is not None:
        (place / "result.json").write_text(text)
    return read_evidence(place, RUN.id)


def test_a_pass_needs_a_result_and_a_good_end(tmp_path: Path) -> None:
    text = result_of(RUN.id, "pass")
    evidence = read(tmp_path, text)
    verdict = judge(RUN, Status(Phase.PASSED), None, evidence, 60)
    assert (verdict.state, verdict.reason, verdict.result) == (RunState.PASSED, "", text)
    bad = judge(RUN, Status(Phase.ERROR, "signal 9"), None, evidence, 60)
    assert bad.state is RunState.ERROR
    assert "signal 9" in bad.reason


def test_the_first_stage_that_failed_says_why(tmp_path: Path) -> None:
    stages = [
        {"name": "install", "outcome": "pass"},
        {"name": "upgrade", "outcome": "fail", "reason": "data are gone"},
        {"name": "backup", "outcome": "fail", "reason": "later"},
    ]
    text = json.dumps(json.loads(result_of(RUN.id, "fail")) | {"stages": stages})
    verdict = judge(RUN, Status(Phase.FAILED), None, read(tmp_path, text), 60)
    assert (verdict.state, verdict.reason) == (RunState.FAILED, "upgrade: data are gone")


def test_what_is_left_of_an_app_is_a_reason(tmp_path: Path) -> None:
    text = json.loads(result_of(RUN.id, "fail", left=("volume data",)))
    text["stages"][0]["outcome"] = "pass"
    verdict = judge(RUN, Status(Phase.FAILED), None, read(tmp_path, json.dumps(text)), 60)
    assert verdict.reason == "teardown: still there: volume data"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (None, "there is no result"),
        ("", "not of its form"),
        ("{", "not of its form"),
        ("null", "not of its form"),
        (result_of("r00000002", "pass"), "another run's"),
        (" " * (MAX_BYTES + 1), "larger than"),
    ],
)
def test_no_usable_result_is_an_error_with_the_end_of_the_log(
    text: str | None, fault: str, tmp_path: Path
) -> None:
    evidence = read(tmp_path, text, "first\n" * 50 + "abra: \x1b[31mno space left\n")
    verdict = judge(RUN, Status(Phase.PASSED), None, evidence, 60)
    assert verdict.state is RunState.ERROR
    assert fault in verdict.reason
    assert "no space left" in verdict.reason
    assert "\x1b" not in verdict.reason


def test_a_result_that_contradicts_itself_is_an_error(tmp_path: Path) -> None:
    text = json.loads(result_of(RUN.id, "pass"))
    text["stages"][0]["outcome"] = "fail"
    verdict = judge(RUN, Status(Phase.PASSED), None, read(tmp_path, json.dumps(text)), 60)
    assert verdict.state is RunState.ERROR


def test_who_stopped_it_and_what_time_it_had_are_told() -> None:
    asked = replace(RUN, stop_asked_by="grace")
    stopped = judge(asked, Status(Phase.ERROR), Ending.STOPPED, NOTHING, 60)
    assert (stopped.state, stopped.reason) == (RunState.CANCELLED, "by grace")
    late = judge(RUN, Status(Phase.ERROR), Ending.TIMED_OUT, NOTHING, 45)
    assert (late.state, late.reason) == (RunState.TIMED_OUT, "no end after 45 minutes")
    there = judge(RUN, Status(Phase.CANCELLED), None, NOTHING, 60)
    assert there.state is RunState.CANCELLED


def test_a_run_that_ended_before_its_cancel_keeps_its_result(tmp_path: Path) -> None:
    evidence = read(tmp_path, result_of(RUN.id, "fail"))
    verdict = judge(RUN, Status(Phase.FAILED), Ending.STOPPED, evidence, 60)
    assert verdict.state is RunState.FAILED


@given(st.sampled_from(Phase), st.sampled_from([None, *Ending]), st.booleans())
def test_nothing_but_a_good_result_passes(phase: Phase, ending: Ending | None, asked: bool) -> None:
    run = replace(RUN, stop_asked_by="x" if asked else None)
    verdict = judge(run, Status(phase), ending, NOTHING, 60)
    assert verdict.state.ended
    assert verdict.state not in (RunState.PASSED, RunState.FAILED)
