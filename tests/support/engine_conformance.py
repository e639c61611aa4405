"""Duties of every engine; the tests of each engine run all of them.

A case makes engines over one place, and plays the part of whoever carries a build out.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from recipe_engines import order

from agency.recipes.engine.port import Build, Engine, Phase
from agency.recipes.record.run import Run, RunState


class Case(Protocol):
    """One engine to be tried."""

    async def engine(self) -> Engine:
        """Make an engine, as a start of the runner does; the place stays."""

    async def finish(self, build: Build, good: bool) -> None:
        """Carry a build out to its end."""


def run(number: int, attempts: int = 1) -> Run:
    """A run that was taken."""
    return Run(f"r{number:08d}", number, order(number), RunState.RUNNING, 0, attempts=attempts)


async def ends(engine: Engine, build: Build, seconds: float = 30.0) -> Phase:
    """Wait until a build is over."""
    async with asyncio.timeout(seconds):
        while not (status := await engine.state(build)).phase.over:  # noqa: ASYNC110 - asked as the runner does
            await asyncio.sleep(0.05)
    return status.phase


async def followed_to_its_end(case: Case) -> None:
    engine = await case.engine()
    for number, good in ((1, True), (2, False)):
        build = await engine.start(run(number))
        assert build.id
        assert not (await engine.state(build)).phase.over
        await case.finish(build, good)
        assert await ends(engine, build) is (Phase.PASSED if good else Phase.FAILED)
        assert engine.logs_url(build) == build.url
        await engine.clean(run(number))
    await engine.close()


async def found_again(case: Case) -> None:
    """After a start that was not recorded, and by the next runner."""
    engine = await case.engine()
    assert await engine.find(run(3)) is None
    build = await engine.start(run(3))
    assert await engine.find(run(3)) == build
    assert await engine.find(run(3, attempts=2)) in (None, build)
    other = await case.engine()
    if engine.outlives:
        assert await engine.find(run(3, attempts=2)) is None, "that start was not made"
        assert await other.find(run(3)) == build
        assert not (await other.state(build)).phase.over
        await case.finish(build, True)
        assert await ends(other, build) is Phase.PASSED
    else:
        assert await other.find(run(3)) is None
        assert (await other.state(build)).phase is Phase.LOST
    await other.close()
    await engine.close()


async def unknown_is_lost(case: Case) -> None:
    engine = await case.engine()
    assert (await engine.state(Build("424242/r00000009"))).phase is Phase.LOST
    await engine.close()


async def cancelled(case: Case) -> None:
    engine = await case.engine()
    build = await engine.start(run(4))
    await engine.cancel(build)
    assert await ends(engine, build) not in (Phase.PASSED, Phase.LOST)
    await engine.close()
