"""The runner over a real record and a fake engine: killed at each call, faults, times, cancels."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from recipe_engines import (
    FakeEngine,
    Fate,
    Hands,
    KilledError,
    World,
    cancel_all,
    in_memory,
    mortal_runner,
    order,
)  # fmt: skip

from agency.recipes.engine.port import EngineError, EngineRefusedError, Phase
from agency.recipes.engine.runner import STARTS, Bounds, Runner
from agency.recipes.record.queue import MAX_ATTEMPTS
from agency.recipes.record.run import Run, RunState
from agency.recipes.record.runs import FILE, Runs, open_runs


@dataclass
class Desk:
    """A runner over a fresh record."""

    place: Path
    runs: Runs
    hands: Hands = field(default_factory=Hands)
    fate: Fate = field(default_factory=Fate)
    capacity: int = 2
    outlives: bool = False

    def __post_init__(self) -> None:
        self.world = World(self.place / "artifacts")
        self.engine = FakeEngine(self.world, outlives=self.outlives)
        self.runner = self.new_runner()

    def new_runner(self) -> Runner:
        bounds = Bounds(self.capacity, 60, 300.0)
        return mortal_runner(self.runs, self.engine, self.fate, bounds, self.hands)

    async def step(self, times: int = 1) -> None:
        for _ in range(times):
            await self.runner.step()
            await self.runner.settle()

    async def die(self) -> None:
        await cancel_all()
        if not self.outlives:
            self.engine.builds.clear()
        self.runner = self.new_runner()

    async def add(self, number: int) -> Run:
        return (await self.runs.add(order(number, comment=number), f"r{number:08d}")).run

    async def run(self, number: int) -> Run:
        found = await self.runs.run(f"r{number:08d}")
        assert found is not None
        return found


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    hands = Hands()
    with in_memory() as place:
        async with open_runs(place, hands.clock()) as runs:
            yield Desk(place, runs, hands)


async def _whole_life(desk: Desk, first: int, calls: int, after: bool) -> bool:
    """Three runs: one passes, one fails, one is stopped. True if it was killed at that call."""
    runs = [await desk.add(first + n) for n in range(3)]
    passes, fails, stops = (run.id for run in runs)
    desk.fate.calls_left, desk.fate.after = calls, after
    died = False
    for _ in range(60):
        try:
            await desk.step()
        except KilledError:
            died = True
            await desk.die()
        desk.hands.now += 1.0
        for build in desk.engine.live():
            if not build.startswith(stops):
                desk.engine.end(build, "pass" if build.startswith(passes) else "fail")
            elif build in desk.engine.cancelled:
                desk.engine.builds[build] = Phase.CANCELLED
            else:
                await desk.runs.stop(stops, "grace")
        counts = await desk.runs.counts()
        assert counts[RunState.RUNNING] <= desk.capacity
        if counts[RunState.RUNNING] + counts[RunState.QUEUED] == 0:
            break
    desk.fate.calls_left = None
    states = [(await desk.run(first + n)).state for n in range(3)]
    assert states == [RunState.PASSED, RunState.FAILED, RunState.CANCELLED]
    assert (desk.world.results[passes], desk.world.results[fails]) == (1, 1)
    assert not desk.world.dirty
    assert not desk.engine.live()
    return died


@pytest.mark.parametrize("outlives", [False, True], ids=["builtin", "outliving"])
async def test_killed_before_and_after_each_call_every_run_ends_once(
    desk: Desk, outlives: bool
) -> None:
    desk.outlives = desk.engine.outlives = outlives
    desk.runner = desk.new_runner()
    reached = 0
    for after in (False, True):
        for calls in range(1, 200):
            if not await _whole_life(desk, 1 + 3 * reached, calls, after):
                break
            reached += 1
        else:
            raise AssertionError("the life never ends")
        reached += 1
    assert reached > 40, "the life has fewer calls than this test is about"


async def test_capacity_and_order_hold(desk: Desk) -> None:
    for number in (1, 2, 3):
        await desk.add(number)
    await desk.step(2)
    assert desk.engine.live() == ["r00000001.1", "r00000002.1"]
    desk.engine.end("r00000001.1", "pass")
    await desk.step(3)
    assert desk.engine.live() == ["r00000002.1", "r00000003.1"]
    ended = await desk.run(1)
    assert (ended.state, ended.reason) == (RunState.PASSED, "")
    assert ended.result is not None
    assert '"pass"' in ended.result


async def test_a_stop_waits_for_the_teardown_before_the_slot_is_free(desk: Desk) -> None:
    desk.capacity = 1
    desk.runner = desk.new_runner()
    await desk.add(1)
    await desk.add(2)
    await desk.step(2)
    await desk.runs.stop("r00000001", "grace")
    await desk.step(5)
    assert desk.engine.cancelled == ["r00000001.1"], "asked once"
    assert (await desk.run(2)).state is RunState.QUEUED
    desk.engine.builds["r00000001.1"] = Phase.CANCELLED
    await desk.step(3)
    assert (await desk.run(1)).reason == "by grace"
    assert (await desk.run(2)).state is RunState.RUNNING


async def test_time_ends_a_run_whatever_the_clock_says(desk: Desk) -> None:
    await desk.add(1)
    await desk.step(2)
    desk.hands.now += 59 * 60
    await desk.step()
    assert desk.engine.cancelled == []
    desk.hands.now += 61
    await desk.step()
    assert desk.engine.cancelled == ["r00000001.1"]
    desk.engine.builds["r00000001.1"] = Phase.ERROR
    await desk.step()
    assert (await desk.run(1)).state is RunState.TIMED_OUT


async def test_an_engine_that_does_not_end_a_build_loses_it(desk: Desk) -> None:
    await desk.add(1)
    await desk.step(2)
    desk.hands.now += 3601
    await desk.step()
    desk.hands.now += 301
    await desk.step()
    assert (await desk.run(1)).state is RunState.TIMED_OUT
    assert not desk.world.dirty


async def test_a_start_that_fails_is_tried_again_and_not_for_ever(desk: Desk) -> None:
    asked = []

    def fault(call: str) -> None:
        asked.append(call)
        if call == "start":
            raise EngineError("no space left on device")

    desk.engine.fault = fault
    await desk.add(1)
    await desk.step(50)
    assert asked.count("start") == 1, "no second attempt before its time"
    for _ in range(STARTS):
        desk.hands.now += 61
        await desk.step()
    ended = await desk.run(1)
    assert ended.state is RunState.ERROR
    assert "no space left" in ended.reason
    assert asked.count("start") == STARTS


async def test_a_refused_start_ends_at_once(desk: Desk) -> None:
    def fault(call: str) -> None:
        if call == "start":
            raise EngineRefusedError("no pipeline")

    desk.engine.fault = fault
    await desk.add(1)
    await desk.step(2)
    ended = await desk.run(1)
    assert (ended.state, ended.reason) == (RunState.ERROR, "it cannot be started: no pipeline")


async def test_a_silent_engine_is_followed_again_when_it_answers(desk: Desk) -> None:
    await desk.add(1)
    await desk.step(2)

    def fault(call: str) -> None:
        raise EngineError("status 500")

    desk.engine.fault = fault
    await desk.step(20)
    assert desk.runner.numbers.faults == 1, "it waits between two looks"
    desk.engine.fault = lambda _: None
    desk.engine.end("r00000001.1", "pass")
    desk.hands.now += 61
    await desk.step()
    assert (await desk.run(1)).state is RunState.PASSED


async def test_a_run_that_kills_its_engine_is_not_started_for_ever(desk: Desk) -> None:
    await desk.add(1)
    for _ in range(MAX_ATTEMPTS):
        await desk.step(2)
        await desk.die()
        await desk.step(2)
    ended = await desk.run(1)
    assert ended.state is RunState.ERROR
    assert desk.world.starts["r00000001"] == MAX_ATTEMPTS


async def test_an_engine_that_is_asked_to_end_costs_no_attempt(desk: Desk) -> None:
    await desk.add(1)
    for _ in range(MAX_ATTEMPTS + 1):
        await desk.step(2)
        assert desk.engine.live()
        await desk.runner.close()
        assert not desk.world.dirty
        waiting = await desk.run(1)
        assert (waiting.state, waiting.attempts) == (RunState.QUEUED, 0)
        desk.engine.builds.clear()
        desk.runner = desk.new_runner()


async def test_a_broken_record_is_told_and_tried_again_later(desk: Desk) -> None:
    await desk.add(1)
    with sqlite3.connect(desk.place / FILE) as other:
        other.execute("ALTER TABLE runs RENAME TO gone")
    await desk.step(30)
    assert not desk.runner.healthy
    assert desk.runner.numbers.faults == 1, "no busy loop"
    with sqlite3.connect(desk.place / FILE) as other:
        other.execute("ALTER TABLE gone RENAME TO runs")
    desk.hands.now += 61
    await desk.step(2)
    assert desk.runner.healthy
    assert desk.engine.live() == ["r00000001.1"]
