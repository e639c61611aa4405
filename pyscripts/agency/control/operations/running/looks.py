"""Tasks of looks and refusals, each of its own: a defect met by one stops none of the others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from agency.control.store.inbox import StoredEvent

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Looks:
    """Runner of looks and refusals; its length is the number of those that run.

    `failed` settles an event whose task met a defect; `ended` is called at the end of each, with
    the error that no task may have.
    """

    failed: Callable[[StoredEvent], Awaitable[None]]
    ended: Callable[[BaseException | None], None]
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """The tasks of those that run."""
        return [*self._tasks]

    def spawn(self, work: Coroutine[Any, Any, None], stored: StoredEvent | None = None) -> None:
        """Run a look or a refusal; `stored` is the event that it answers."""
        task = asyncio.create_task(self._guard(work, stored))
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        task.add_done_callback(lambda _ended: work.close())  # if cancelled before it began

    async def _guard(self, work: Coroutine[Any, Any, None], stored: StoredEvent | None) -> None:
        try:
            await work
        except Exception:  # noqa: BLE001 - a defect met by one event must not stop those behind it
            _log.exception("an event could not be answered")
            if stored is not None:
                await self.failed(stored)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.ended(None if task.cancelled() else task.exception())
