"""One spin-up under way: named steps, their early end, and the teardown.

pipeline ── Run ──▶ target.spin_up(run)      the coroutine with the steps
             │         │ run.watch(guard)    a guard that raises ends the step under way
             │         │ run.held            what the teardown ends
             └── execute: steps, then teardown ──▶ Recorder ──▶ statement
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from agency.errors import AgencyError, InternalError
from agency.quarantine import Quarantine
from agency.secrets import SecretValue
from agency.spinup.record import Collect, Evidence, Recorder

T = TypeVar("T")
Digests = Mapping[str, str]


class FailedProbeError(AgencyError):
    """A mandatory probe failed, and nothing was to be done after that."""


class Teardown:
    """An exit stack that goes on after an error and tells all of them."""

    def __init__(self) -> None:
        self._ends: list[Callable[[], object]] = []

    def push(self, end: Callable[[], object]) -> None:
        """Have a function called at the end, before those that were pushed earlier."""
        self._ends.append(end)

    async def enter(self, manager: AbstractAsyncContextManager[T]) -> T:
        """Enter a context that the teardown leaves."""
        value = await manager.__aenter__()
        self.push(lambda: manager.__aexit__(None, None, None))
        return value

    async def end(self) -> None:
        """Call every function, the last pushed first.

        Raises:
            ExceptionGroup: several failed; where one did, its own error.
        """
        errors: list[Exception] = []
        while self._ends:
            try:
                ended = self._ends.pop()()
                if inspect.isawaitable(ended):
                    await ended
            except Exception as error:  # noqa: BLE001 - the others must be ended too
                errors.append(error)
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise ExceptionGroup("the teardown failed", errors)


_NOT_SEEN = Quarantine("none", "it was not looked at")


async def _nothing_to_explain(_: BaseException) -> None:
    pass


@dataclass(slots=True)
class Run:
    """Context of a target's coroutine, and its findings for the statement.

    `names` are the steps in their order. `explain` is called with the error of a failed step: it
    may set the recorder's log, and raise the cause where it knows a better one.
    """

    recorder: Recorder
    names: tuple[str, ...]
    fail_fast: bool = False
    held: Teardown = field(default_factory=Teardown)
    network: Quarantine = _NOT_SEEN
    subjects: dict[str, Digests] = field(default_factory=dict)  # beside source and instance
    known_secrets: list[SecretValue] = field(default_factory=list, repr=False)
    ports: tuple[int, ...] = ()  # of this machine, closed after the teardown
    explain: Callable[[BaseException], Awaitable[None]] = _nothing_to_explain
    _guards: list[asyncio.Task[None]] = field(default_factory=list)
    _ended: asyncio.Event = field(default_factory=asyncio.Event)
    _reason: BaseException | None = None
    started_at: str = field(init=False)

    def __post_init__(self) -> None:
        self.started_at = self.recorder.clock.now_iso()

    @contextlib.asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[None]:
        """Record a step; where a guard ends it, the guard's error is the step's."""
        self._refuse_out_of_order(name)
        with self.recorder.step(name):
            try:
                yield
            except (AgencyError, OSError, asyncio.CancelledError) as error:
                cut = isinstance(error, asyncio.CancelledError)
                try:
                    await self.explain(error)
                except asyncio.CancelledError as cancelled:  # by a guard, as the step had failed
                    cut = True
                    await self.explain(cancelled)
                if cut and self._reason is not None:
                    raise self._reason from None
                raise
            if self.fail_fast:
                self._refuse_failed_probes()

    def skip(self, name: str) -> None:
        """Leave a step out on purpose."""
        self._refuse_out_of_order(name)
        self.recorder.skip(name)

    async def probe(self, name: str, collect: Collect) -> Evidence:
        """Collect evidence, judge and record it; see Recorder."""
        return await self.recorder.probe(name, collect)

    async def look(self, name: str, collect: Callable[[], Evidence]) -> Evidence:
        """See `probe`; for a function that may block."""
        return await self.probe(name, lambda: asyncio.to_thread(collect))

    def watch(self, guard: Coroutine[Any, Any, None]) -> None:
        """Run a guard until the steps are over; its error ends the step under way."""
        task = asyncio.create_task(guard)
        self._guards.append(task)
        task.add_done_callback(self._notice)

    def _notice(self, guard: asyncio.Task[None]) -> None:
        if not guard.cancelled() and self._reason is None:
            self._reason = guard.exception()
            if self._reason is not None:
                self._ended.set()

    async def drive(self, spin_up: Coroutine[Any, Any, None]) -> None:
        """Run the steps to their end; a guard cancels them once and they clean up undisturbed.

        Steps that were not reached are recorded as skipped.

        Raises:
            Exception: what ended them.
        """
        steps = asyncio.create_task(spin_up)
        ended = asyncio.create_task(self._ended.wait())
        try:
            await asyncio.wait({steps, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            steps.cancel()
            await asyncio.wait({steps})
            for task in (ended, *self._guards):
                task.cancel()
            await asyncio.gather(ended, *self._guards, return_exceptions=True)
            for name in self.names[len(self.recorder.steps) :]:
                self.recorder.skip(name)
        if steps.cancelled() and self._reason is not None:  # between two steps
            raise self._reason
        steps.result()

    def _refuse_out_of_order(self, name: str) -> None:
        reached = len(self.recorder.steps)
        if self.names[reached : reached + 1] != (name,):
            raise InternalError(f"the step {name!r} is out of order", where=self.recorder.target)

    def _refuse_failed_probes(self) -> None:
        probes = self.recorder.probes
        failed = [probe for probe in probes if probe.mandatory and probe.status == "failed"]
        if failed:
            raise FailedProbeError(f"{failed[0].name}: {failed[0].reason}", where="probe")
