"""The bridge at work: each project is watched by a task of its own, and told by another.

So a project that is slow, or answers with faults, delays none but itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from agency.clock import Clock
from agency.errors import AgencyError
from agency.forge import ForgeError
from agency.recipes.bridge.looking import Looker
from agency.recipes.bridge.memory import Settled
from agency.recipes.bridge.numbers import Numbers
from agency.recipes.bridge.pacing import FOR_ALL_CALLS, Backoff, Quiet
from agency.recipes.bridge.telling import Teller
from agency.recipes.record.run import Run

LOOKS_AT_ONCE = 16
LOOK_S = 120.0  # the longest look, and the longest telling of a project
TELL_POLL_S = 2.0  # between two looks at the record, which the engine changes
_HOOK_GAP_S = 1.0  # between two looks at a project, however often its hook calls
_MOST_RUNS = 200

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Bridge:
    """The bridge of some projects. `poll_s` is the time between two looks at a project."""

    looker: Looker
    teller: Teller
    numbers: Numbers
    clock: Clock
    poll_s: float
    wake: dict[str, asyncio.Event] = field(default_factory=dict)
    _settled: asyncio.Event = field(default_factory=asyncio.Event)
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LOOKS_AT_ONCE))
    _quiet: Quiet = field(init=False)
    _told: dict[str, Backoff] = field(default_factory=dict)
    _telling: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._quiet = Quiet(self.clock.steady)
        self.wake = {project: asyncio.Event() for project in self.looker.recipes}
        now = self.clock.steady()
        self.numbers.looked.update(dict.fromkeys(self.wake, now))

    async def run(self) -> None:
        """Watch and tell until it is cancelled."""
        await self.looker.memory.keep_only(tuple(self.wake))
        async with asyncio.TaskGroup() as tasks:
            for project in self.wake:
                tasks.create_task(self._watch(project))
            tasks.create_task(self._tell_all(tasks))

    async def _watch(self, project: str) -> None:
        backoff = Backoff(self.poll_s, self.clock.steady)
        while True:
            self.wake[project].clear()
            begun = self.clock.steady()
            wait_s = self.poll_s
            async with self._slots:
                if await self._attempt(project, lambda: self.looker.look(project)):
                    backoff.succeeded()
                    self.numbers.looks["done"] += 1
                    self.numbers.looked[project] = self.clock.steady()
                    self._settled.set()
                else:
                    self.numbers.looks["failed"] += 1
                    wait_s = backoff.failed()
            await self._wait(self.wake[project], wait_s - (self.clock.steady() - begun))
            await asyncio.sleep(max(0.0, begun + _HOOK_GAP_S - self.clock.steady()))
            await asyncio.sleep(self._quiet.left_s)

    async def _attempt(self, project: str, work: Callable[[], Awaitable[None]]) -> bool:
        """Do work for a project; False, and the reason in the log, if it failed."""
        try:
            async with asyncio.timeout(LOOK_S):
                await work()
        except TimeoutError:
            reason = f"not done within {LOOK_S:g} s"
        except ForgeError as error:
            self._quiet.ask(error.after_s)
            reason = str(error)
        except AgencyError as error:
            reason = str(error)
        except Exception:  # noqa: BLE001 - the outermost edge of a project; others go on
            fields = {"project": project}
            _log.exception("the bridge failed at a project", extra={"fields": fields})
            return False
        else:
            return True
        fields = {"project": project, "error": reason}
        _log.warning("the forge or the record failed", extra={"fields": fields})
        return False

    async def _tell_all(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            await asyncio.sleep(self._quiet.left_s)
            self._settled.clear()
            await self._attempt("", lambda: self._start_telling(tasks))
            await self._wait(self._settled, TELL_POLL_S)

    async def _start_telling(self, tasks: asyncio.TaskGroup) -> None:
        """Start a task for each project that has something to tell, and is not told already."""
        besides = self._telling | {name for name, each in self._told.items() if each.waits}
        replies: dict[str, list[Settled]] = defaultdict(list)
        runs: dict[str, list[Run]] = defaultdict(list)
        for settled in await self.looker.memory.unsent(besides):
            replies[settled.seen.project].append(settled)
        for run in await self.teller.runs.untold(_MOST_RUNS, besides):
            runs[run.order.project].append(run)
        for project in replies.keys() | runs.keys():
            self._telling.add(project)
            tasks.create_task(self._tell(project, replies[project], runs[project]))

    async def _tell(self, project: str, replies: list[Settled], runs: list[Run]) -> None:
        calls = [
            *(partial(self.teller.reply, settled) for settled in replies),
            *(partial(self.teller.tell, run) for run in runs),
        ]

        async def work() -> None:
            """Tell each; the forge's fault at one holds up no other of the project."""
            failed: ForgeError | None = None
            for call in calls:
                try:
                    await call()
                except ForgeError as error:
                    if error.status in FOR_ALL_CALLS:
                        raise
                    failed = error
            if failed is not None:
                raise failed

        backoff = self._told.setdefault(project, Backoff(TELL_POLL_S, self.clock.steady))
        try:
            if await self._attempt(project, work):
                backoff.succeeded()
            else:
                backoff.failed()
                self.numbers.told["failed"] += 1
        finally:
            self._telling.discard(project)
            self._settled.set()

    async def _wait(self, event: asyncio.Event, seconds: float) -> None:
        """Wait for an event, but no longer than some seconds."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await event.wait()
        except TimeoutError:
            return
