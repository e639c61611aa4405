"""Register of the agent's running tasks, so that a cancel ends real work."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agency.clock import Clock, new_id
from agency.protocols import MAX_TASKS, TaskReport, TaskState

_CANCEL_S = 5.0

_log = logging.getLogger(__name__)


class TooManyTasksError(Exception):
    """A start beyond the bound of running tasks."""


@dataclass(slots=True)
class _Task:
    id: str
    name: str
    started_at: str
    trace: str | None
    work: asyncio.Task[object] | None = None
    cancelling: bool = False

    @property
    def ended(self) -> bool:
        return self.work is None or self.work.done()

    def state(self) -> TaskState:
        if self.work is None or not self.work.done():
            return "cancelling" if self.cancelling else "running"
        if self.work.cancelled():
            return "cancelled"
        return "done" if self.work.exception() is None else "failed"

    def report(self) -> TaskReport:
        return TaskReport(
            id=self.id,
            name=self.name,
            state=self.state(),
            started_at=self.started_at,
            trace=self.trace,
        )


class TaskRegister:
    """Register of tasks, at most `most` running, and as many ended ones remembered.

    `changed` is told of each start and end.
    """

    def __init__(
        self,
        clock: Clock,
        changed: Callable[[TaskReport], None],
        *,
        most: int = MAX_TASKS,
        cancel_s: float = _CANCEL_S,
        make_id: Callable[[], str] = lambda: new_id("task"),
    ) -> None:
        self._clock = clock
        self._changed = changed
        self._most = most
        self._cancel_s = cancel_s
        self._make_id = make_id
        self._running: dict[str, _Task] = {}
        self._ended: OrderedDict[str, TaskReport] = OrderedDict()

    def start(
        self, name: str, work: Callable[[], Awaitable[object]], *, trace: str | None = None
    ) -> str:
        """Run `work` as a task; return its id.

        Raises:
            TooManyTasksError: as many as may run do so.
        """
        if len(self._running) >= self._most:
            raise TooManyTasksError
        task = _Task(self._make_id(), name, self._clock.now_iso(), trace)
        task.work = asyncio.ensure_future(_run(work))
        self._running[task.id] = task
        self._changed(task.report())
        task.work.add_done_callback(lambda _: self._end(task))
        return task.id

    def running(self) -> tuple[TaskReport, ...]:
        """Report the tasks that have not ended, oldest first."""
        return tuple(task.report() for task in self._running.values())

    def find(self, task_id: str) -> TaskReport | None:
        """Report a task that runs or ended lately, or None."""
        task = self._running.get(task_id)
        return task.report() if task is not None else self._ended.get(task_id)

    async def cancel(self, task_id: str | None = None) -> tuple[TaskReport, ...]:
        """Cancel one running task, or all; wait for their end within the bound; report them.

        A task that has not ended by then is reported as `cancelling`.
        """
        chosen = [t for t in self._running.values() if task_id is None or t.id == task_id]
        works = [task.work for task in chosen if task.work is not None]
        for task, work in zip(chosen, works, strict=True):
            task.cancelling = True
            work.cancel()
        if works:
            await asyncio.wait(works, timeout=self._cancel_s)
        return tuple(task.report() for task in chosen)

    async def close(self) -> None:
        """Cancel every task when the agent ends."""
        for report in await self.cancel():
            if report.state == "cancelling":
                _log.warning("a task did not end", extra={"fields": {"task": report.id}})

    def _end(self, task: _Task) -> None:
        self._running.pop(task.id, None)
        report = task.report()
        self._ended[task.id] = report
        while len(self._ended) > self._most:
            self._ended.popitem(last=False)
        if report.state == "failed" and task.work is not None:
            fields = {"task": task.id, "kind": type(task.work.exception()).__name__}
            _log.error("a task failed", extra={"fields": fields})
        self._changed(report)


async def _run(work: Callable[[], Awaitable[object]]) -> object:
    return await work()
