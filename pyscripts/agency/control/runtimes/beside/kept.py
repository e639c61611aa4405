"""Kept process: started again when it ends, after a pause that grows while it does not live long.

Whoever keeps one calls from the thread of the event loop (agency.children says why).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from agency.children import Child, ChildSpec, start_child
from agency.control.runtimes.detail import failure_detail
from agency.errors import AgencyError
from agency.secrets import SecretValue

_LOG_LINES = 20
_LOG_BYTES = 8 * 1024

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """Pauses before a process is started again; one that lived `well_s` begins with the first."""

    first_s: float = 0.5
    longest_s: float = 60.0
    well_s: float = 60.0

    def pause_s(self, failures: int) -> float:
        """Return the pause after so many failures in a row. Pure."""
        return min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 30))


@dataclass(slots=True)
class Kept:
    """Process of one agent; `prepare` makes what it needs before each start, and may wait."""

    name: str
    marker: str
    prepare: Callable[[], Awaitable[ChildSpec]]
    secrets: Callable[[], tuple[SecretValue, ...]]
    pace: Pace = field(default_factory=Pace)
    child: Child | None = None
    _work: asyncio.Task[None] | None = None
    _said: str = ""

    @property
    def pid(self) -> int | None:
        """Its pid while it runs."""
        child = self.child
        return None if child is None or child.exit_status is not None else child.pid

    def begin(self) -> None:
        """Begin to keep it."""
        if self._work is None:
            self._work = asyncio.create_task(self._keep(), name=self.name)

    async def end(self, timeout_s: float) -> None:
        """Keep it no more, and end it; SIGKILL after `timeout_s`."""
        work, self._work = self._work, None
        if work is not None:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
        if self.child is not None:
            await self.child.stop(timeout_s)

    async def _keep(self) -> None:
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            try:
                self.child = await start_child(await self.prepare(), marker=self.marker)
                begun = loop.time()
                await self.child.wait()
                fault = self._fault(self.child)
            except AgencyError as error:
                fault = str(error)
            if loop.time() - begun >= self.pace.well_s:
                failures, self._said = 0, ""
            failures += 1
            if fault != self._said:
                self._said = fault
                _log.warning("%s ended, and is started again: %s", self.name, fault)
            await asyncio.sleep(self.pace.pause_s(failures))

    def _fault(self, child: Child) -> str:
        said = child.log_tail(_LOG_LINES, _LOG_BYTES)
        return failure_detail(child.exit_status or 0, said, secrets=self.secrets())
