"""Queues of changes, one a target: in order within it, side by side with all others."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from agency.control.operation import Operation

_TOGETHER = 32  # changes that act at one time
_TOTAL = 500  # changes that wait in all queues


@dataclass(slots=True)
class TargetQueues:
    """Runs operations; `most` bounds those that wait for one target, beside the one that acts.

    `ended` is told when a target has nothing more to do, with the error that `run` did not settle.
    """

    run: Callable[[Operation], Awaitable[None]]
    most: int
    ended: Callable[[BaseException | None], None]
    total: int = _TOTAL
    together: int = _TOGETHER
    _waiting: dict[str, deque[Operation]] = field(default_factory=dict)
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _turns: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._turns = asyncio.Semaphore(self.together)

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """The tasks of the targets that have something to do."""
        return list(self._tasks.values())

    @property
    def waiting(self) -> int:
        """How many operations wait for their turn."""
        return sum(map(len, self._waiting.values()))

    @property
    def active(self) -> int:
        """How many operations wait or act."""
        return self.waiting + len(self._tasks)

    def is_full(self, target: str) -> bool:
        """Whether no more may wait for a target."""
        return len(self._waiting.get(target, ())) >= self.most or self.waiting >= self.total

    def put(self, operation: Operation) -> None:
        """Queue an operation behind those of its target; ask `is_full` before."""
        target = operation.target
        if target in self._tasks:
            self._waiting.setdefault(target, deque()).append(operation)
            return
        task = asyncio.create_task(self._drain(operation), name=f"changes of {target or 'all'}")
        self._tasks[target] = task
        task.add_done_callback(lambda ended: self._ended(target, ended))

    async def _drain(self, first: Operation) -> None:
        target, operation = first.target, first
        while True:
            async with self._turns:
                await self.run(operation)
            queue = self._waiting.get(target)
            if not queue:
                return
            operation = queue.popleft()
            if not queue:
                del self._waiting[target]

    def _ended(self, target: str, task: asyncio.Task[None]) -> None:
        del self._tasks[target]
        queue = self._waiting.pop(target, None)
        error = None if task.cancelled() else task.exception()
        # After a cancellation or an error they stand in the store, for the next start.
        if queue and error is None and not task.cancelled():
            for operation in queue:  # put between its last look and its end
                self.put(operation)
        self.ended(error)
