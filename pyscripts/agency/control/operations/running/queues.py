"""Queues of changes, one for each target: in order within a target, concurrent across targets."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from agency.control.operation import Operation, OriginKind

_TOGETHER = 32  # changes that run at one time
_TOTAL = 500  # changes that wait, in all queues together


@dataclass(slots=True)
class TargetQueues:
    """Runner of queued operations. `most` limits how many wait for one target while another runs.

    `ended` is called when a target's queue is empty, with the error that `run` raised, if any.
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
        """The tasks of the targets that have operations."""
        return list(self._tasks.values())

    @property
    def waiting(self) -> int:
        """The number of operations that wait for their turn."""
        return sum(map(len, self._waiting.values()))

    @property
    def active(self) -> int:
        """The number of operations that wait or run."""
        return self.waiting + len(self._tasks)

    def is_full(self, target: str) -> bool:
        """Return whether a target's queue, or all queues together, are full."""
        return len(self._waiting.get(target, ())) >= self.most or self.waiting >= self.total

    def put(self, operation: Operation) -> None:
        """Queue an operation behind the others of its target; check `is_full` first."""
        target = operation.target
        if target in self._tasks:
            self._waiting.setdefault(target, deque()).append(operation)
            return
        task = asyncio.create_task(self._drain(operation), name=f"changes of {target or 'all'}")
        self._tasks[target] = task
        task.add_done_callback(lambda ended: self._ended(target, ended))

    def has(self, target: str) -> bool:
        """Return whether an operation of a target runs or waits for its turn."""
        return target in self._tasks

    async def quiet(self, target: str) -> None:
        """Wait until a target has no operations."""
        while (task := self._tasks.get(target)) is not None:
            await asyncio.wait([task])
            await asyncio.sleep(0)  # its callback runs first

    def next_of(self, target: str) -> Operation | None:
        """Return the change that a person asked for and that waits next for a target's turn."""
        waiting = self._waiting.get(target, ())
        return next((op for op in waiting if op.origin.kind is not OriginKind.RECONCILE), None)

    def discard(self, operation: Operation) -> None:
        """Remove an operation that waits for its turn, if it is there."""
        queue = self._waiting.get(operation.target, deque())
        kept = deque(each for each in queue if each.id != operation.id)
        if kept:
            self._waiting[operation.target] = kept
        else:
            self._waiting.pop(operation.target, None)

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
        # After a cancellation or an error they stay in the store, for the next start.
        if queue and error is None and not task.cancelled():
            for operation in queue:  # queued after the task last looked at its queue
                self.put(operation)
        self.ended(error)
