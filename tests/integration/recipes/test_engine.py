"""The engine as a program with real children: killed, stopped, cancelled, out of time, alone."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from binding import free_port
from recipe_engine_desk import Desk

from agency.children import processes_with_marker
from agency.recipes.record.run import RunState


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path, free_port())
    desk.set_up()
    return desk


def test_runs_end_with_their_results_and_their_numbers(desk: Desk) -> None:
    desk.plan("fail", 2)
    desk.plan("silent", 3)
    names = desk.add(1, 2, 3)
    with desk.engine():
        ended = desk.wait_ended(*names)
        assert [one.state for one in ended] == [RunState.PASSED, RunState.FAILED, RunState.ERROR]
        assert ended[1].reason == "install: as planned"
        assert "there is no result" in ended[2].reason
        assert "the last line of a silent run" in ended[2].reason
        assert '"outcome": "pass"' in str(ended[0].result)
        numbers = desk.get("/metrics")
        for line in (
            'agency_recipes_ended_total{outcome="passed"} 1.0',
            'agency_recipes_ended_total{outcome="error"} 1.0',
            "agency_recipes_queue_depth 0.0",
            "agency_recipes_run_seconds_count 3.0",
        ):
            assert line in numbers
        assert json.loads(desk.get("/health")) == {"healthy": True, "running": []}
    assert list((desk.state / "apps").iterdir()) == []


@pytest.mark.thorough
def test_a_cancelled_run_is_torn_down_before_the_next_begins(desk: Desk) -> None:
    desk.plan("hang", 1)
    first, second, third = desk.add(1, 2, 3)
    with desk.engine():
        desk.wait_for(lambda: f"start {first}" in desk.notes())
        desk.with_record(lambda runs: runs.stop(first, "grace"))
        ended = desk.wait_ended(first, second, third)
    assert [one.state for one in ended] == [
        RunState.CANCELLED, RunState.PASSED, RunState.PASSED,
    ]  # fmt: skip
    assert ended[0].reason == "by grace"
    assert desk.notes()[f"teardown {first}"] == 1


def test_what_is_deaf_to_its_end_is_killed_with_all_that_it_started(desk: Desk) -> None:
    desk.grace = "1"
    desk.plan("stubborn")
    (name,) = desk.add(1)
    with desk.engine():
        desk.wait_for((desk.state / "grandchild").exists)
        grandchild = int((desk.state / "grandchild").read_text())
        assert grandchild in processes_with_marker(name)
        desk.with_record(lambda runs: runs.stop(name, "grace"))
        (ended,) = desk.wait_ended(name)
        assert ended.state is RunState.CANCELLED
        assert processes_with_marker(name) == ()
    assert list((desk.state / "apps").glob("*/")) == [], "the janitor was here"


def test_a_process_that_left_its_run_in_every_way_ends_with_it(desk: Desk) -> None:
    """No parent, session or environment of the run: neither a group nor a marker finds it."""
    desk.plan("daemon")
    (name,) = desk.add(1)
    with desk.engine():
        (ended,) = desk.wait_ended(name)
        assert ended.state is RunState.PASSED
        assert processes_with_marker(name) == ()
        gone = Path("/proc") / (desk.state / "grandchild").read_text()
        desk.wait_for(lambda: not gone.exists(), 5)


@pytest.mark.thorough
def test_a_run_that_talks_without_end_is_out_of_time(desk: Desk) -> None:
    desk.speed, desk.grace = "30", "600"
    desk.set_up_again(buildTimeoutMinutes=5)  # ten seconds
    desk.plan("chatty")
    (name,) = desk.add(1)
    with desk.engine():
        (ended,) = desk.wait_ended(name)
    assert (ended.state, ended.reason) == (RunState.TIMED_OUT, "no end after 5 minutes")
    assert desk.notes()[f"teardown {name}"] == 1


def test_an_engine_that_is_asked_to_end_tears_down_and_queues_again(desk: Desk) -> None:
    desk.plan("hang")
    names = desk.add(1, 2, 3)
    with desk.engine() as process:
        desk.wait_for(
            lambda: desk.notes()[f"start {names[0]}"] and desk.notes()[f"start {names[1]}"]
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert {desk.run(name).state for name in names} == {RunState.QUEUED}
    assert [desk.notes()[f"teardown {name}"] for name in names] == [1, 1, 0]
    desk.plan("pass")
    with desk.engine():
        assert {one.state for one in desk.wait_ended(*names)} == {RunState.PASSED}


@pytest.mark.thorough
def test_a_second_engine_is_refused(desk: Desk) -> None:
    with desk.engine():
        desk.wait_for((desk.state / "engine.lock").exists)
        desk.wait_for(lambda: "runs are taken" in (desk.place / "log").read_text())
        with desk.engine() as second:
            assert second.wait(30) != 0
    assert "another engine takes the runs" in (desk.place / "log").read_text()


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("started", marks=pytest.mark.thorough),
        pytest.param("mid", marks=pytest.mark.thorough),
        pytest.param("torn down", marks=pytest.mark.thorough),
        "result",
    ],
)
def test_killed_at_a_boundary_the_run_ends_once(desk: Desk, moment: str) -> None:
    """Killed when the child has started, works, has torn down, and has left its result."""
    (name,) = desk.add(1)
    desk.plan("pass" if moment in ("torn down", "result") else "hang")
    done = {
        "started": lambda: desk.notes()[f"start {name}"],
        "mid": lambda: any((desk.state / "apps").glob("*/")),
        "torn down": lambda: desk.notes()[f"teardown {name}"],
        "result": (desk.state / "artifacts" / name / "result.json").exists,
    }[moment]
    with desk.engine() as process:
        desk.wait_for(done)
        process.kill()
        process.wait()
        desk.wait_for(lambda: not processes_with_marker(name), 5)
    before = desk.run(name)
    desk.plan("pass")
    with desk.engine():
        (ended,) = desk.wait_ended(name)
    assert ended.state is RunState.PASSED
    starts = desk.notes()[f"start {name}"]
    if moment == "result":
        assert starts == 1, "it was not run again"
    if moment in ("started", "mid"):
        assert before.state is RunState.RUNNING
        assert (starts, ended.attempts) == (2, 2)
    assert list((desk.state / "apps").glob("*/")) == []
