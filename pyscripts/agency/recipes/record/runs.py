"""The runs of recipe CI in a SQLite file, which several processes open at once.

bridge ── add, ask_to_stop ──▶ ┌──────┐ ◀── take, begin, end, requeue ── engine
       ── untold, told ──────▶ │ runs │
dashboard ── listed           └──────┘
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Select, case, func, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from agency.clock import Clock
from agency.errors import PrerequisiteError
from agency.recipes.record import queue
from agency.recipes.record.run import Added, Order, Run, RunState
from agency.recipes.record.tables import SCHEMA, runs
from agency.store import Database, migrate, open_database

T = TypeVar("T")
FILE = "recipes.db"  # in the state directory of recipe CI
MOST = 500  # runs that one call returns


class RecordError(PrerequisiteError):
    """Record of runs that cannot be read or written."""


class Runs:
    """All runs. Every method is one transaction, and raises RecordError where it cannot be made."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def transaction(self, work: Callable[[Connection], T]) -> T:
        """Write in one transaction with the record: `queue` has its statements."""
        return await self._write(work)

    async def view(self, work: Callable[[Connection], T]) -> T:
        """Read what a part keeps beside the record."""
        return await self._read(work)

    async def add(self, order: Order, run: str) -> Added:
        """Queue a run with the id `run`, unless the order's comment has one.

        Queued runs of the same pull request at another commit are replaced.
        """
        return await self._write(partial(queue.add, order=order, run=run, now_ts=self._now()))

    async def take(self, capacity: int) -> Run | None:
        """Give a slot to the oldest queued run that may start, while fewer than `capacity` run."""
        return await self._write(partial(queue.take, capacity=capacity, now_ts=self._now()))

    async def begin(self, run: str, engine: str) -> Run | None:
        """Count a start of a run by an engine, before it; None if it does not run."""
        return await self._write(partial(queue.begin, run=run, engine=engine))

    async def end(
        self, run: str, state: RunState, reason: str = "", result: str | None = None
    ) -> Run | None:
        """End a run; None if it has ended before."""
        work = partial(
            queue.end, run=run, state=state, now_ts=self._now(), reason=reason, result=result
        )
        return await self._write(work)

    async def requeue(self, run: str, *, blame: bool = True) -> Run | None:
        """Queue a run again whose engine was killed; None if it does not run.

        Without `blame`, as where the engine was asked to end, the start does not count.
        """
        work = partial(queue.requeue, run=run, now_ts=self._now(), blame=blame)
        return await self._write(work)

    async def stop(self, run: str, by: str) -> Run | None:
        """Cancel a queued run, or mark one that runs; None if it has ended or is unknown."""
        return await self._write(partial(queue.stop, run=run, by=by, now_ts=self._now()))

    async def ask_to_stop(self, project: str, pull_request: int, by: str) -> tuple[Run, ...]:
        """Cancel what is queued of a pull request and mark what runs, for its engine to end."""
        work = partial(
            queue.ask_to_stop,
            project=project,
            pull_request=pull_request,
            by=by,
            now_ts=self._now(),
        )
        return await self._write(work)

    async def place_at(self, run: str, build: str, url: str) -> None:
        """Record where an engine runs it."""
        change = update(runs).where(runs.c.id == run).values(engine_build=build, engine_url=url)
        await self._write(lambda connection: connection.execute(change).rowcount)

    async def answered(self, run: str, answer: int | None, told: RunState | str) -> None:
        """Record the comment that tells of a run, and the state that the forge was told."""
        values: dict[str, object] = {"told": str(told)}
        if answer is not None:
            values["answer"] = answer
        change = update(runs).where(runs.c.id == run).values(values)
        await self._write(lambda connection: connection.execute(change).rowcount)

    async def untold(self, limit: int = 50, besides: Collection[str] = ()) -> tuple[Run, ...]:
        """Read the runs whose state the forge was not told, oldest first.

        Those of the projects `besides` are left out.
        """
        wanted = (
            select(runs)
            .where(runs.c.told != runs.c.state, runs.c.project.not_in(list(besides)))
            .order_by(runs.c.sequence)
        )
        return await self._select(wanted.limit(min(limit, MOST)))

    async def run(self, run: str) -> Run | None:
        """Read a run; None if there is none of this id."""
        found = await self._select(select(runs).where(runs.c.id == run))
        return found[0] if found else None

    async def in_state(self, state: RunState, limit: int = MOST) -> tuple[Run, ...]:
        """Read the runs of a state, oldest first."""
        wanted = select(runs).where(runs.c.state == state).order_by(runs.c.sequence)
        return await self._select(wanted.limit(min(limit, MOST)))

    async def of_recipe(
        self, recipe: str, limit: int = 50, before: int | None = None
    ) -> tuple[Run, ...]:
        """Read a recipe's runs, newest first; those before the sequence number `before`."""
        wanted = select(runs).where(runs.c.recipe == recipe)
        if before is not None:
            wanted = wanted.where(runs.c.sequence < before)
        return await self._select(wanted.order_by(runs.c.sequence.desc()).limit(min(limit, MOST)))

    async def latest(self) -> tuple[Run, ...]:
        """Read the newest run of each recipe, by recipe."""
        newest = select(func.max(runs.c.sequence)).group_by(runs.c.recipe)
        return await self._select(
            select(runs).where(runs.c.sequence.in_(newest)).order_by(runs.c.recipe)
        )

    async def listed(self, ask: Callable[[Connection], T]) -> T:
        """Read a list of `record.history`, which has no run's result."""
        return await self._read(ask)

    async def counts(self) -> dict[RunState, int]:
        """Count the runs of each state."""
        wanted = select(runs.c.state, func.count()).group_by(runs.c.state)

        def work(connection: Connection) -> dict[RunState, int]:
            found = {RunState(state): number for state, number in connection.execute(wanted)}
            return {state: found.get(state, 0) for state in RunState}

        return await self._read(work)

    async def position(self, run: str) -> int:
        """Return how many queued runs stand before a queued run."""
        mine = select(runs.c.sequence).where(runs.c.id == run).scalar_subquery()
        counted = func.sum(case((runs.c.sequence < mine, 1), else_=0))
        wanted = select(counted).where(runs.c.state == RunState.QUEUED)
        return await self._read(lambda connection: int(connection.execute(wanted).scalar() or 0))

    def _now(self) -> int:
        return self._clock.now_ms()

    async def _select(self, wanted: Select[Any]) -> tuple[Run, ...]:
        return await self._read(lambda connection: queue.read_all(connection.execute(wanted).all()))

    async def _write(self, work: Callable[[Connection], T]) -> T:
        try:
            return await self._database.write(work)
        except DBAPIError as error:
            raise _told(error) from error

    async def _read(self, work: Callable[[Connection], T]) -> T:
        try:
            return await self._database.read(work)
        except DBAPIError as error:
            raise _told(error) from error


def _told(error: DBAPIError) -> RecordError:
    return RecordError(
        f"cannot use the record of runs: {error.orig}",
        where=FILE,
        hint="check its directory, and the free space of its disk",
    )


@asynccontextmanager
async def open_runs(state: Path, clock: Clock) -> AsyncIterator[Runs]:
    """Open the record in a state directory, and bring its schema up to date.

    Raises:
        PrerequisiteError: it cannot be opened, or was written by a newer agency.
    """
    database = open_database(str(state / FILE))
    try:
        await migrate(database, SCHEMA)
        yield Runs(database, clock)
    finally:
        await database.close()
