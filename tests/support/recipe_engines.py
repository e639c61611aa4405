"""A fake engine that a test drives, and a way to die at any call of the runner's."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agency.clock import Clock
from agency.recipes.engine.port import Build, Phase, Status
from agency.recipes.engine.runner import Bounds, Runner
from agency.recipes.record.run import Order, Run
from agency.recipes.record.runs import Runs


@contextmanager
def in_memory() -> Iterator[Path]:
    """A directory in memory where that is to be had: a record waits for its disk at each change."""
    memory = Path("/dev/shm")
    place = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    try:
        yield place
    finally:
        shutil.rmtree(place)


class KilledError(BaseException):
    """The end of the program, as by SIGKILL: nothing after it is done."""


@dataclass
class Fate:
    """Death at the n-th call from now, before or after its work; None for a long life."""

    calls_left: int | None = None
    after: bool = False

    def strike(self, *, after: bool) -> None:
        if self.calls_left is None or after != self.after:
            return
        self.calls_left -= 1
        if self.calls_left <= 0:
            self.calls_left = None
            raise KilledError


class Mortal:
    """Any object whose coroutines are chances to die."""

    def __init__(self, inner: Any, fate: Fate) -> None:
        self._inner, self._fate = inner, fate

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        async def called(*words: Any, **named: Any) -> Any:
            self._fate.strike(after=False)
            answer = await found(*words, **named)
            self._fate.strike(after=True)
            return answer

        return called


@dataclass
class World:
    """Things that outlive an engine: artifacts on disk, rests of apps, and a count of all."""

    artifacts: Path
    starts: Counter[str] = field(default_factory=Counter)
    results: Counter[str] = field(default_factory=Counter)
    dirty: set[str] = field(default_factory=set)

    def write_result(self, run: str, outcome: str) -> None:
        self.results[run] += 1
        place = self.artifacts / run
        place.mkdir(parents=True, exist_ok=True)
        (place / "result.json").write_text(result_of(run, outcome))


def result_of(run: str, outcome: str, *, left: tuple[str, ...] = ()) -> str:
    """The text of a result, as `conduct` writes it."""
    one = {"name": "install", "outcome": outcome, "reason": "" if outcome == "pass" else "why"}
    return json.dumps(
        {
            "run": run,
            "outcome": outcome,
            "stages": [one],
            "teardown": {"clean": not left, "left": list(left)},
        }
    )


@dataclass
class FakeEngine:
    """Engine whose builds a test ends. Builds are of runs and their starts."""

    world: World
    outlives: bool = False
    builds: dict[str, Phase] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    fault: Callable[[str], None] = lambda _: None
    name: str = "fake"

    def live(self) -> list[str]:
        return [build for build, phase in self.builds.items() if not phase.over]

    async def start(self, run: Run) -> Build:
        self.fault("start")
        assert run.id not in self.world.dirty, "started over what an earlier start left"
        assert not self.world.results[run.id], "started again after it gave its result"
        build = _build(run)
        assert build not in self.builds, "this start was started twice"
        self.world.starts[run.id] += 1
        self.world.dirty.add(run.id)
        self.builds[build] = Phase.RUNNING
        return Build(build)

    async def find(self, run: Run) -> Build | None:
        self.fault("find")
        return Build(_build(run)) if _build(run) in self.builds else None

    async def state(self, build: Build) -> Status:
        self.fault("state")
        return Status(self.builds.get(build.id, Phase.LOST))

    async def cancel(self, build: Build) -> None:
        self.fault("cancel")
        self.cancelled.append(build.id)

    async def clean(self, run: Run) -> None:
        self.fault("clean")
        self.world.dirty.discard(run.id)

    def logs_url(self, build: Build) -> str:
        return f"https://engine.example/{build.id}"

    async def close(self) -> None:
        for build in self.live():
            self.builds[build] = Phase.CANCELLED

    def end(self, build: str, outcome: str | None) -> None:
        """End a build with a result, or without one."""
        if outcome is not None:
            self.world.write_result(build.partition(".")[0], outcome)
        self.builds[build] = {"pass": Phase.PASSED, "fail": Phase.FAILED}.get(
            outcome or "", Phase.ERROR
        )


def _build(run: Run) -> str:
    return f"{run.id}.{run.attempts}"


@dataclass
class Hands:
    """Hands of a clock."""

    now: float = 1_700_000_000.0

    def clock(self) -> Clock:
        return Clock(wall=lambda: self.now, steady=lambda: self.now)


def order(number: int, *, comment: int | None = None, stages: tuple[str, ...] = ()) -> Order:
    """An order for a run of a pull request."""
    return Order(
        recipe="wiki",
        project="team/wiki",
        pull_request=number,
        commit="a" * 40,
        head_ref=f"refs/pull/{number}/head",
        clone_url="https://forge.example.org/team/wiki.git",
        stages=stages,
        requester="ada",
        comment=comment,
    )


class EngineLike:
    """A mortal engine with the plain attributes of its port."""

    def __init__(self, mortal: Any, plain: FakeEngine) -> None:
        self.name, self.outlives, self.logs_url = plain.name, plain.outlives, plain.logs_url
        for name in ("start", "find", "state", "cancel", "clean", "close"):
            setattr(self, name, getattr(mortal, name))


def mortal_runner(
    runs: Runs, engine: FakeEngine, fate: Fate, bounds: Bounds, hands: Hands
) -> Runner:
    """A runner that dies where its fate says."""
    mortal: Any = Mortal(runs, fate)
    like: Any = EngineLike(Mortal(engine, fate), engine)
    return Runner(mortal, like, engine.world.artifacts, bounds, hands.clock())


async def cancel_all() -> None:
    """End every task of this loop, as the end of a program does."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for one in others:
        one.cancel()
    await asyncio.gather(*others, return_exceptions=True)
