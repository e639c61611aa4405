"""Estimates of the queue: monotone, and right in a queue that can be counted by hand."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from recipe_engines import order

from agency.recipes.engine.estimate import UNKNOWN_S, places, usual_seconds
from agency.recipes.record.run import Run, RunState


def run(number: int, state: RunState = RunState.QUEUED, recipe: str = "wiki") -> Run:
    named = replace(order(number), recipe=recipe)
    return Run(f"r{number:08d}", number, named, state, 0)


def test_a_queue_counted_by_hand() -> None:
    running = [replace(run(1, RunState.RUNNING), started_ts=0)]
    queued = [run(2), run(3), run(4, recipe="new")]
    found = places(running, queued, {"wiki": 100.0}, 2, 40_000)
    told = [
        (found[f"r{n:08d}"].position, found[f"r{n:08d}"].starts_in_s, found[f"r{n:08d}"].ends_in_s)
        for n in (1, 2, 3, 4)
    ]
    assert told == [
        (0, 0.0, 60.0),
        (0, 0.0, 100.0),
        (1, 60.0, 160.0),
        (2, 100.0, 100.0 + UNKNOWN_S),
    ]


@given(
    st.integers(1, 5), st.integers(0, 20), st.integers(0, 5), st.floats(1, 5000), st.integers(0, 9)
)
def test_who_waits_longer_never_starts_later(
    capacity: int, waiting: int, running: int, usual: float, now: int
) -> None:
    live = [replace(run(n, RunState.RUNNING), started_ts=0) for n in range(1, running + 1)]
    queued = [run(100 + n) for n in range(waiting)]
    found = places(live, queued, {"wiki": usual}, capacity, now * 1000)
    starts = [found[one.id].starts_in_s for one in queued]
    assert starts == sorted(starts)
    assert all(one.ends_in_s >= one.starts_in_s >= 0 for one in found.values())
    assert [found[one.id].position for one in queued] == list(range(waiting))


def test_the_usual_length_is_of_runs_with_a_result() -> None:
    def past(seconds: int, state: RunState) -> Run:
        return replace(run(seconds, state), started_ts=0, ended_ts=seconds * 1000)

    runs = [past(10, RunState.PASSED), past(30, RunState.FAILED), past(20, RunState.PASSED)]
    others = [past(9000, RunState.TIMED_OUT), past(1, RunState.CANCELLED), past(2, RunState.ERROR)]
    assert usual_seconds([*others, *runs]) == 20
    assert usual_seconds(others) is None
