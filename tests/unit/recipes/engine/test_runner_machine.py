"""Runs in any order of events, with the runner killed at any call: none lost, none doubled."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
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

from agency.recipes.engine.port import EngineError
from agency.recipes.engine.runner import Bounds
from agency.recipes.record.queue import MAX_ATTEMPTS
from agency.recipes.record.run import RunState
from agency.recipes.record.runs import open_runs

CAPACITY = 2
MINUTES = 60


class Machine(RuleBasedStateMachine):
    """A record, an engine and a runner, which dies and is started again."""

    outlives = False
    added = Bundle("added")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.holding = in_memory()
        self.place = self.holding.__enter__()
        self.numbers = itertools.count(1)
        self.fate = Fate()
        self.hands = Hands()
        self.world = World(self.place / "artifacts")
        self.engine = FakeEngine(self.world, outlives=self.outlives)
        self.opened = open_runs(self.place, self.hands.clock())
        self.runs = self.do(self.opened.__aenter__())
        self.engine_down = False
        self.start_runner()

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def start_runner(self) -> None:
        if not self.outlives:  # the kernel ended the children; nobody tore their apps down
            self.engine.builds.clear()
        self.runner = mortal_runner(
            self.runs, self.engine, self.fate, Bounds(CAPACITY, MINUTES, 300.0), self.hands
        )

    async def look(self) -> None:
        await self.runner.step()
        await self.runner.settle()

    def step_or_die(self) -> None:
        try:
            self.do(self.look())
        except KilledError:
            self.do(cancel_all())
            self.start_runner()

    @rule(target=added, pull_request=st.integers(1, 3))
    def add(self, pull_request: int) -> str:
        number = next(self.numbers)
        run = f"r{number:08d}"
        self.do(self.runs.add(order(pull_request, comment=number), run))
        return run

    @rule()
    def step(self) -> None:
        self.step_or_die()

    @rule(calls=st.integers(1, 8), after=st.booleans())
    def step_and_perhaps_die(self, calls: int, after: bool) -> None:
        self.fate.calls_left, self.fate.after = calls, after
        self.step_or_die()
        self.fate.calls_left = None

    @rule(outcome=st.sampled_from(["pass", "fail", "error", None]), which=st.integers(0, 9))
    def build_ends(self, outcome: str | None, which: int) -> None:
        live = self.engine.live()
        if live:
            self.engine.end(live[which % len(live)], outcome)

    @rule(pull_request=st.integers(1, 3))
    def ask_to_stop(self, pull_request: int) -> None:
        self.do(self.runs.ask_to_stop("team/wiki", pull_request, "grace"))

    @rule(seconds=st.sampled_from([1.0, 61.0, 3600.0]))
    def time_passes(self, seconds: float) -> None:
        self.hands.now += seconds

    @rule(down=st.booleans())
    def engine_answers_or_not(self, down: bool) -> None:
        def fail(_: str) -> None:
            raise EngineError("status 500")

        self.engine.fault = fail if down else lambda _: None

    @rule()
    def is_killed(self) -> None:
        self.do(cancel_all())
        self.start_runner()

    @rule()
    def is_asked_to_end(self) -> None:
        try:
            self.do(self.runner.close())
        except KilledError:
            self.do(cancel_all())
        self.start_runner()

    @invariant()
    def never_more_than_the_capacity(self) -> None:
        assert self.do(self.runs.counts())[RunState.RUNNING] <= CAPACITY
        assert len(self.engine.live()) <= CAPACITY

    @invariant()
    def a_result_comes_once(self) -> None:
        assert max(self.world.results.values(), default=0) <= 1

    @invariant()
    def a_verdict_is_that_of_the_result(self) -> None:
        for number in range(1, CAPACITY * 50):
            run = self.do(self.runs.run(f"r{number:08d}"))
            if run is None:
                return
            if run.state in (RunState.PASSED, RunState.FAILED):
                assert self.world.results[run.id] == 1
            if run.state.ended and run.state is not RunState.REPLACED:
                assert run.id not in self.world.dirty, "ended before it was cleaned up"
            assert run.attempts <= MAX_ATTEMPTS

    def teardown(self) -> None:
        try:
            self.engine.fault = lambda _: None
            self.drain()
        finally:
            self.do(self.opened.__aexit__(None, None, None))
            self.loop.close()
            self.holding.__exit__(None, None, None)

    def drain(self) -> None:
        for _ in range(400):
            counts = self.do(self.runs.counts())
            if not counts[RunState.QUEUED] and not counts[RunState.RUNNING]:
                break
            self.hands.now += 61.0
            self.step_or_die()
            for build in self.engine.live():
                self.engine.end(build, "pass")
        counts = self.do(self.runs.counts())
        assert sum(counts.values()) == next(self.numbers) - 1
        assert counts[RunState.QUEUED] == counts[RunState.RUNNING] == 0, counts
        assert not self.world.dirty


class OutlivingMachine(Machine):
    """The same with an engine whose builds go on while the runner is dead."""

    outlives = True


FEW = settings(max_examples=12, stateful_step_count=25, deadline=None)
TestBuiltinLike = Machine.TestCase
TestBuiltinLike.settings = FEW
TestOutliving = OutlivingMachine.TestCase
TestOutliving.settings = FEW


@pytest.mark.thorough
@pytest.mark.timeout(600)  # 300 lives take a minute of a processor, and longer beside others
@pytest.mark.parametrize("machine", [Machine, OutlivingMachine])
def test_long_lives(machine: type[Machine]) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    many = settings(max_examples=300, stateful_step_count=60, deadline=None)
    run_state_machine_as_test(machine, settings=many)
