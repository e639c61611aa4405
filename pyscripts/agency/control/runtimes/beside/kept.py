"""Kept program: started again when it ends, after a pause that grows while it does not live long.

Whoever keeps processes calls from the thread of the event loop (agency.children says why).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from agency.children import Child
from agency.control.runtimes.detail import failure_detail
from agency.errors import AgencyError
from agency.secrets import SecretValue

_LOG_LINES = 20
_LOG_BYTES = 8 * 1024

_log = logging.getLogger(__name__)


class Started(Protocol):
    """Program that was started: a process, or a container."""

    @property
    def handle(self) -> str | None:
        """Its pid or container while it runs."""

    async def ended(self) -> tuple[int, tuple[str, ...]]:
        """Wait for its end; return its exit status and its last lines.

        Raises:
            AgencyError: it cannot be watched.
        """

    async def stop(self, timeout_s: float) -> None:
        """End it; SIGKILL after `timeout_s`."""


@dataclass(frozen=True, slots=True)
class StartedChild:
    """Program as a child process."""

    child: Child

    @property
    def handle(self) -> str | None:
        """Its pid while it runs."""
        return None if self.child.exit_status is not None else str(self.child.pid)

    async def ended(self) -> tuple[int, tuple[str, ...]]:
        """Wait for its end; return its exit status and its last lines."""
        status = await self.child.wait()
        return status, self.child.log_tail(_LOG_LINES, _LOG_BYTES)

    async def stop(self, timeout_s: float) -> None:
        """End it; SIGKILL after `timeout_s`."""
        await self.child.stop(timeout_s)


@dataclass(frozen=True, slots=True)
class Pace:
    """Pauses before a program is started again; one that lived `well_s` begins with the first."""

    first_s: float = 0.5
    longest_s: float = 60.0
    well_s: float = 60.0

    def pause_s(self, failures: int) -> float:
        """Return the pause after so many failures in a row. Pure."""
        return min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 30))


@dataclass(slots=True)
class Kept:
    """Program of one agent; `start` makes what it needs before each start, and may wait."""

    name: str
    start: Callable[[], Awaitable[Started]]
    secrets: Callable[[], tuple[SecretValue, ...]]
    pace: Pace = field(default_factory=Pace)
    started: Started | None = None
    _work: asyncio.Task[None] | None = None
    _said: str = ""

    @property
    def handle(self) -> str | None:
        """Its pid or container while it runs."""
        return None if self.started is None else self.started.handle

    def begin(self) -> None:
        """Begin to keep it."""
        if self._work is None:
            self._work = asyncio.create_task(self._keep(), name=self.name)

    async def leave(self) -> None:
        """Keep it no more; one that runs goes on."""
        work, self._work = self._work, None
        if work is not None:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def end(self, timeout_s: float) -> None:
        """Keep it no more, and end it; SIGKILL after `timeout_s`."""
        await self.leave()
        if self.started is not None:
            await self.started.stop(timeout_s)

    async def _keep(self) -> None:
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            try:
                self.started = await self.start()
                begun = loop.time()
                status, said = await self.started.ended()
                fault = failure_detail(status, said, secrets=self.secrets())
            except AgencyError as error:
                fault = str(error)
            if loop.time() - begun >= self.pace.well_s:
                failures, self._said = 0, ""
            failures += 1
            if fault != self._said:
                self._said = fault
                _log.warning("%s ended, and is started again: %s", self.name, fault)
            await asyncio.sleep(self.pace.pause_s(failures))
