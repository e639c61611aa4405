"""The record of runs: one run a comment, one at a time for a pull request, nothing lost."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from agency.clock import Clock
from agency.errors import PrerequisiteError
from agency.recipes.record.queue import MAX_ATTEMPTS
from agency.recipes.record.run import Order, RunState
from agency.recipes.record.runs import RecordError, Runs, open_runs

ORDER = Order(
    recipe="wiki",
    project="team/wiki",
    pull_request=7,
    commit="a" * 40,
    head_ref="refs/pull/7/head",
    clone_url="https://forge.example.org/team/wiki.git",
    stages=("install", "upgrade"),
    requester="ada",
    comment=100,
)


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[Runs]:
    async with open_runs(tmp_path, Clock(wall=lambda: 1_700_000_000.0)) as opened:
        yield opened


async def test_an_order_comes_back_as_it_was(runs: Runs) -> None:
    added = await runs.add(ORDER, "r00000001")
    assert added.fresh
    found = await runs.run("r00000001")
    assert found == added.run
    assert found.order == ORDER
    assert (found.state, found.queued_ts) == (RunState.QUEUED, 1_700_000_000_000)
    assert await runs.run("r00000002") is None


async def test_one_comment_is_one_run(runs: Runs) -> None:
    first = await runs.add(ORDER, "r00000001")
    again = await runs.add(ORDER, "r00000002")
    assert (again.fresh, again.run) == (False, first.run)
    other = await runs.add(replace(ORDER, project="team/blog"), "r00000003")
    assert other.fresh, "comments of two projects may have one number"
    by_hand = [await runs.add(replace(ORDER, comment=None), f"r1000000{n}") for n in range(2)]
    assert all(each.fresh for each in by_hand)


async def test_a_newer_commit_replaces_what_is_queued_and_not_what_runs(runs: Runs) -> None:
    await runs.add(ORDER, "r00000001")
    assert (await runs.take(1)).id == "r00000001"
    await runs.add(replace(ORDER, comment=101), "r00000002")
    await runs.add(replace(ORDER, comment=102, pull_request=8), "r00000003")
    newer = await runs.add(replace(ORDER, comment=103, commit="b" * 40), "r00000004")
    assert [each.id for each in newer.replaced] == ["r00000002"]
    states = {each.id: each.state for each in await runs.of_recipe("wiki")}
    assert states == {
        "r00000001": RunState.RUNNING,
        "r00000002": RunState.REPLACED,
        "r00000003": RunState.QUEUED,
        "r00000004": RunState.QUEUED,
    }
    assert "bbbbbbbbbbbb" in (await runs.run("r00000002")).reason


async def test_capacity_holds_and_a_pull_request_has_one_app(runs: Runs) -> None:
    await runs.add(ORDER, "r00000001")
    await runs.add(replace(ORDER, comment=101), "r00000002")
    await runs.add(replace(ORDER, comment=102, pull_request=8), "r00000003")
    await runs.add(replace(ORDER, comment=103, pull_request=9), "r00000004")
    assert (await runs.take(2)).id == "r00000001"
    assert (await runs.take(2)).id == "r00000003", "the second is of the same request"
    assert await runs.take(2) is None
    assert await runs.position("r00000004") == 1
    await runs.end("r00000001", RunState.PASSED)
    assert (await runs.take(2)).id == "r00000002"


async def test_a_run_ends_once(runs: Runs) -> None:
    await runs.add(ORDER, "r00000001")
    await runs.take(1)
    ended = await runs.end("r00000001", RunState.FAILED, "install: no answer", '{"run": 1}')
    assert (ended.state, ended.reason, ended.result) == (
        RunState.FAILED,
        "install: no answer",
        '{"run": 1}',
    )
    assert await runs.end("r00000001", RunState.PASSED) is None
    assert (await runs.run("r00000001")).state is RunState.FAILED
    with pytest.raises(ValueError, match="does not end"):
        await runs.end("r00000001", RunState.RUNNING)


async def test_what_was_killed_is_queued_again_at_its_place_and_not_for_ever(runs: Runs) -> None:
    await runs.add(ORDER, "r00000001")
    await runs.add(replace(ORDER, comment=101, pull_request=8), "r00000002")
    for _ in range(MAX_ATTEMPTS - 1):
        assert (await runs.take(1)).id == "r00000001"
        await runs.begin("r00000001", "builtin")
        assert (await runs.requeue("r00000001")).state is RunState.QUEUED
    await runs.take(1)
    await runs.begin("r00000001", "builtin")
    dead = await runs.requeue("r00000001")
    assert dead.state is RunState.ERROR
    assert f"killed {MAX_ATTEMPTS} times" in dead.reason
    assert await runs.requeue("r00000001") is None, "it has ended"
    assert (await runs.take(1)).id == "r00000002"


async def test_a_slot_that_no_start_followed_is_no_attempt(runs: Runs) -> None:
    """The control is the test above: with a start in each slot the run ends as an error."""
    await runs.add(ORDER, "r00000001")
    for _ in range(MAX_ATTEMPTS * 2):
        assert (await runs.take(1)).attempts == 0
        assert (await runs.requeue("r00000001")).state is RunState.QUEUED
    await runs.take(1)
    begun = await runs.begin("r00000001", "builtin")
    assert (begun.attempts, begun.engine) == (1, "builtin")
    assert await runs.begin("r00000001", "builtin") is None, "a start is counted once"
    assert (await runs.requeue("r00000001", blame=False)).attempts == 0
    await runs.take(1)
    assert (await runs.requeue("r00000001", blame=False)).attempts == 0


async def test_the_last_start_of_a_run_is_without_others(runs: Runs) -> None:
    """What killed the engine may have been the other one: a third start beside it shows nothing."""
    for number in (1, 2, 3):
        await runs.add(replace(ORDER, comment=number, pull_request=number), f"r0000000{number}")
    for _ in range(MAX_ATTEMPTS - 1):
        for run in ("r00000001", "r00000002"):
            assert (await runs.take(2)).id == run
            await runs.begin(run, "builtin")
        for run in ("r00000001", "r00000002"):
            await runs.requeue(run)
    assert (await runs.take(2)).id == "r00000001"
    assert await runs.take(2) is None, "before its start"
    await runs.begin("r00000001", "builtin")
    assert await runs.take(2) is None, "and after it"
    assert (await runs.requeue("r00000001")).state is RunState.ERROR
    assert (await runs.take(2)).id == "r00000002"
    await runs.begin("r00000002", "builtin")
    await runs.end("r00000002", RunState.PASSED)
    assert (await runs.take(2)).id == "r00000003"
    await runs.add(replace(ORDER, comment=4, pull_request=4), "r00000004")
    assert (await runs.take(2)).id == "r00000004", "two again"


async def test_to_stop_cancels_the_queued_and_marks_the_running(runs: Runs) -> None:
    await runs.add(ORDER, "r00000001")
    await runs.take(1)
    await runs.add(replace(ORDER, comment=101), "r00000002")
    await runs.add(replace(ORDER, comment=102, pull_request=8), "r00000003")
    stopped = await runs.ask_to_stop("team/wiki", 7, "ada")
    assert [(each.id, each.state) for each in stopped] == [
        ("r00000001", RunState.RUNNING),
        ("r00000002", RunState.CANCELLED),
    ]
    assert stopped[0].stop_asked_by == "ada"
    assert (await runs.run("r00000003")).stop_asked_by is None
    cancelled = await runs.requeue("r00000001")
    assert cancelled.state is RunState.CANCELLED, "it is not started again"


async def test_the_forge_is_behind_until_it_was_told(runs: Runs) -> None:
    await runs.add(ORDER, "r00000001")
    assert [each.id for each in await runs.untold()] == ["r00000001"]
    await runs.answered("r00000001", 500, RunState.QUEUED)
    assert await runs.untold() == ()
    await runs.take(1)
    (behind,) = await runs.untold()
    assert (behind.answer, behind.told, behind.state) == (500, "queued", RunState.RUNNING)
    await runs.answered("r00000001", None, RunState.RUNNING)
    assert (await runs.run("r00000001")).answer == 500


async def test_the_newest_of_each_recipe_and_the_history_in_pages(runs: Runs) -> None:
    for number in range(1, 6):
        await runs.add(replace(ORDER, comment=number), f"r0000000{number}")
    await runs.add(replace(ORDER, recipe="blog", project="team/blog"), "r00000006")
    assert [each.id for each in await runs.latest()] == ["r00000006", "r00000005"]
    first = await runs.of_recipe("wiki", limit=3)
    rest = await runs.of_recipe("wiki", limit=3, before=first[-1].sequence)
    assert [each.id for each in (*first, *rest)] == [f"r0000000{n}" for n in range(5, 0, -1)]
    assert (await runs.counts())[RunState.QUEUED] == 6


async def test_many_programs_take_no_run_twice(tmp_path: Path) -> None:
    async with open_runs(tmp_path, Clock()) as first, open_runs(tmp_path, Clock()) as second:
        for number in range(40):
            order = replace(ORDER, comment=number, pull_request=number)
            await (first, second)[number % 2].add(order, f"r000000{number:02}")
        takers = (each.take(30) for each in (first, second) for _ in range(20))
        taken = [run.id for run in await asyncio.gather(*takers) if run is not None]
        assert len(taken) == len(set(taken)) == 30


async def test_a_record_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "recipes.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(PrerequisiteError, match="cannot use the database"):
        async with open_runs(tmp_path, Clock()):
            pass


async def test_a_record_that_breaks_is_told(runs: Runs, tmp_path: Path) -> None:
    await runs.add(ORDER, "r00000001")
    with sqlite3.connect(tmp_path / "recipes.db") as connection:
        connection.execute("DROP TABLE runs")
    with pytest.raises(RecordError, match="cannot use the record"):
        await runs.add(replace(ORDER, comment=101), "r00000002")
    with pytest.raises(RecordError, match="cannot use the record"):
        await runs.latest()
