"""Runner: moves runs from the record to the engine, and their ends back.

take ─▶ begin ─▶ start ─▶ place_at ─▶ state, each second ─┬─▶ over ─▶ clean, judge ─▶ end
  ▲                          │ stop or time               └─▶ lost ─▶ clean ─▶ result, or requeue
  └── adopt, at start        └─▶ cancel, then wait for its teardown

Each arrow may be the last thing that this program does: `adopt` finds every run that the record
calls running, and goes on from what the engine and the disk know of it. A slot is free when the
record says that its run ended, so after the teardown.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from pathlib import Path

from agency.clock import Clock
from agency.errors import AgencyError
from agency.recipes.engine.numbers import Numbers
from agency.recipes.engine.patience import Patience
from agency.recipes.engine.port import Build, Engine, EngineRefusedError, Phase, Status
from agency.recipes.engine.result import Ending, Verdict, judge, read_evidence
from agency.recipes.record.run import Run, RunState
from agency.recipes.record.runs import Runs

STARTS = 6  # attempts to have an engine start one run
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds of the runner: runs at a time, length of a run, seconds until a cancelled one ends."""

    capacity: int
    minutes: int
    grace_s: float


@dataclass(slots=True)
class _Watched:
    """A run that has a slot; `adopted` if an engine before this one took it."""

    id: str
    deadline: float
    adopted: bool = False
    build: Build | None = None
    placed: bool = False
    starts: int = 0
    ending: Ending | None = None
    must_end: float = 0.0  # on the steady clock, once `ending` is set
    cancelled: bool = False
    patience: Patience = field(default_factory=Patience)
    look: asyncio.Task[None] | None = None


class Runner:
    """Runner over a record and an engine. A record has one at a time."""

    def __init__(
        self, runs: Runs, engine: Engine, artifacts: Path, bounds: Bounds, clock: Clock
    ) -> None:
        self._runs = runs
        self._engine = engine
        self._artifacts = artifacts
        self._bounds = bounds
        self._clock = clock
        self._watched: dict[str, _Watched] = {}
        self._patience = Patience()
        self._adopted = False
        self.numbers = Numbers()

    @property
    def watched(self) -> frozenset[str]:
        """The ids of the runs that have a slot."""
        return frozenset(self._watched)

    @property
    def healthy(self) -> bool:
        """False while the record cannot be used."""
        return self._patience.failures == 0

    async def step(self) -> None:
        """Take what may start, and begin a look at every run that is not being looked at."""
        for watched in [*self._watched.values()]:
            if watched.look is None or watched.look.done():
                if watched.look is not None:
                    watched.look.result()  # a fault of the program ends the program
                watched.look = asyncio.create_task(self._guarded(watched))
        if self._clock.steady() < self._patience.due:
            return
        try:
            if not self._adopted:
                await self._adopt()
            await self._fill()
        except AgencyError as error:
            self.numbers.faults += 1
            if self._patience.failed(self._clock.steady(), str(error)):
                _log.error("no run can be taken, trying again: %s", error)
        else:
            if self._patience.worked():
                _log.info("runs can be taken again")

    async def settle(self) -> None:
        """Wait for the looks that have begun."""
        await asyncio.gather(*(each.look for each in self._watched.values() if each.look))

    async def close(self) -> None:
        """End: builds that cannot go on without this program are torn down, and queued again."""
        looks = [each.look for each in self._watched.values() if each.look is not None]
        for look in looks:
            look.cancel()
        await asyncio.gather(*looks, return_exceptions=True)
        await self._engine.close()
        if self._engine.outlives:
            return
        for watched in [*self._watched.values()]:
            try:
                await self._hand_back(watched, blame=False)
            except AgencyError as error:  # the next engine adopts it
                _log.warning("run %s stays as running on record: %s", watched.id, error)

    async def _adopt(self) -> None:
        """Watch every run that an engine before this one left running."""
        for run in await self._runs.in_state(RunState.RUNNING):
            build = Build(run.engine_build, run.engine_url) if run.engine_build else None
            self._watched[run.id] = _Watched(
                run.id, self._deadline(run), adopted=True, build=build, placed=build is not None
            )
            _log.info("run %s was left running", run.id)
        self._adopted = True

    async def _fill(self) -> None:
        """Take queued runs while there are slots."""
        while len(self._watched) < self._bounds.capacity:
            run = await self._runs.take(self._bounds.capacity)
            if run is None:
                return
            self._watched[run.id] = _Watched(run.id, self._deadline(run))
            _log.info("run %s of %s begins", run.id, run.order.recipe)

    def _deadline(self, run: Run) -> float:
        """Return the end of a run's time on the steady clock, which no change of the time moves."""
        whole = self._bounds.minutes * 60.0
        began = run.started_ts if run.started_ts is not None else self._clock.now_ms()
        spent = (self._clock.now_ms() - began) / 1000
        return self._clock.steady() + min(whole, max(0.0, whole - spent))

    async def _guarded(self, watched: _Watched) -> None:
        """Look at a run; a fault of record, engine or disk is told, and tried again later."""
        if self._clock.steady() < watched.patience.due:
            return
        try:
            await self._look(watched)
        except AgencyError as error:
            self.numbers.faults += 1
            if watched.patience.failed(self._clock.steady(), str(error)):
                _log.warning("run %s, trying again: %s", watched.id, error)
        else:
            watched.patience.worked()

    async def _look(self, watched: _Watched) -> None:
        run = await self._runs.run(watched.id)
        if run is None or run.state is not RunState.RUNNING:
            del self._watched[watched.id]
            return
        self._bound(watched, run)
        if watched.ending is not None and self._clock.steady() >= watched.must_end:
            await self._end(watched, run, Status(Phase.ERROR, "its engine did not end it"))
        elif watched.build is None:
            await self._begin(watched, run)
        else:
            await self._follow(watched, run, watched.build)

    def _bound(self, watched: _Watched, run: Run) -> None:
        """Decide to end a run that is to stop, or whose time is over."""
        if watched.ending is not None:
            return
        if run.stop_asked_by is not None:
            watched.ending = Ending.STOPPED
        elif self._clock.steady() >= watched.deadline:
            watched.ending = Ending.TIMED_OUT
        else:
            return
        watched.must_end = self._clock.steady() + self._bounds.grace_s
        _log.info("run %s is to end: %s", run.id, watched.ending.value)

    async def _begin(self, watched: _Watched, run: Run) -> None:
        """Find the build of a run, or start one."""
        if run.engine:  # else no engine was asked for one, and what it has is of an earlier start
            watched.build = await self._engine.find(run)
        if watched.build is None and watched.adopted and watched.starts == 0:
            await self._hand_back(watched, blame=True)
        elif watched.build is None and watched.ending is not None:
            await self._end(watched, run, Status(Phase.CANCELLED))
        elif watched.build is None:
            await self._start(watched, run)
        if watched.build is not None:
            await self._place(watched, watched.build)

    async def _start(self, watched: _Watched, run: Run) -> None:
        begun = run if run.engine else await self._runs.begin(run.id, self._engine.name)
        if begun is None:
            return
        watched.starts += 1
        try:
            watched.build = await self._engine.start(begun)
        except AgencyError as error:
            if watched.starts < STARTS and not isinstance(error, EngineRefusedError):
                raise
            verdict = Verdict(RunState.ERROR, f"it cannot be started: {error}")
            await self._record_end(watched, verdict)

    async def _place(self, watched: _Watched, build: Build) -> None:
        await self._runs.place_at(watched.id, build.id, build.url)
        watched.placed = True

    async def _follow(self, watched: _Watched, run: Run, build: Build) -> None:
        if not watched.placed:
            await self._place(watched, build)
        status = await self._engine.state(build)
        if status.phase is Phase.LOST:
            await self._hand_back(watched, blame=True)
        elif status.phase.over:
            await self._end(watched, run, status)
        elif watched.ending is not None and not watched.cancelled:
            await self._engine.cancel(build)
            watched.cancelled = True

    async def _end(self, watched: _Watched, run: Run, status: Status) -> None:
        """Clean up after a build, judge it, and record its end."""
        await self._engine.clean(run)
        evidence = read_evidence(self._artifacts / run.id, run.id)
        await self._record_end(
            watched, judge(run, status, watched.ending, evidence, self._bounds.minutes)
        )

    async def _hand_back(self, watched: _Watched, *, blame: bool) -> None:
        """End a run whose build died, if it left its result; else queue it again."""
        run = await self._runs.run(watched.id)
        if run is not None and run.state is RunState.RUNNING:
            await self._engine.clean(run)
            evidence = read_evidence(self._artifacts / run.id, run.id)
            # A time that ran out while no engine was there is not the run's fault.
            ending = watched.ending if watched.cancelled else None
            if evidence.result is not None or ending is Ending.TIMED_OUT:
                minutes = self._bounds.minutes
                verdict = judge(run, Status(Phase.LOST), ending, evidence, minutes)
                await self._record_end(watched, verdict)
                return
            again = await self._runs.requeue(run.id, blame=blame)
            _log.info("run %s: %s", run.id, again.state.value if again else "ended")
            self.numbers.requeued += int(again is not None and again.state is RunState.QUEUED)
        self._watched.pop(watched.id, None)

    async def _record_end(self, watched: _Watched, verdict: Verdict) -> None:
        ended = await self._runs.end(watched.id, verdict.state, verdict.reason, verdict.result)
        if ended is not None:
            self.numbers.end(ended)
            _log.info("run %s of %s: %s", ended.id, ended.order.recipe, ended.state.value)
        self._watched.pop(watched.id, None)
