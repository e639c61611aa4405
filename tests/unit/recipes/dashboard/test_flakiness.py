"""Flakiness: repeats of one commit that disagree, and nothing else."""

from __future__ import annotations

import pytest

from agency.recipes.dashboard.views.flakiness import STRIP, Flakiness, flakiness, tally
from agency.recipes.record.history import Judged
from agency.recipes.record.run import RunState

PASS, FAIL, ERROR, LATE = (
    RunState.PASSED,
    RunState.FAILED,
    RunState.ERROR,
    RunState.TIMED_OUT,
)


def history(*oldest_first: tuple[str, RunState]) -> list[Judged]:
    return [Judged(commit, "install", state) for commit, state in reversed(oldest_first)]


@pytest.mark.parametrize(
    ("runs", "repeats", "disagreeing", "changes"),
    [
        ([], 0, 0, 0),
        ([("a", PASS), ("b", FAIL), ("c", PASS)], 0, 0, 2),
        ([("a", PASS), ("a", PASS), ("a", PASS)], 2, 0, 0),
        ([("a", PASS), ("a", FAIL), ("a", PASS)], 2, 2, 2),
        ([("a", FAIL), ("a", LATE)], 1, 0, 0),
        ([("a", PASS), ("b", FAIL), ("a", PASS)], 1, 0, 2),
        ([("a", PASS), ("a", ERROR), ("a", PASS)], 1, 0, 0),
        ([("a", PASS), ("b", PASS), ("a", FAIL), ("b", PASS)], 2, 1, 2),
    ],
)
def test_it_counts(
    runs: list[tuple[str, RunState]], repeats: int, disagreeing: int, changes: int
) -> None:
    judged = sum(state is not ERROR for _, state in runs)
    assert flakiness(history(*runs)) == Flakiness(judged, repeats, disagreeing, changes)


def test_runs_of_other_stages_may_disagree() -> None:
    runs = [Judged("a", "install", PASS), Judged("a", "install,upgrade", FAIL)]
    assert flakiness(runs).repeats == 0


def test_a_share_needs_repeats() -> None:
    assert flakiness(history(("a", PASS), ("b", FAIL))).share is None
    assert flakiness(history(("a", PASS), ("a", FAIL), ("a", FAIL))).share == 0.5


def test_the_strip_has_the_last_verdicts_the_oldest_first() -> None:
    runs = history(*[("a", FAIL)] * 5, *[("a", PASS)] * (STRIP - 1), ("b", ERROR))
    assert tally(runs).strip == (*[PASS] * (STRIP - 1), ERROR)
