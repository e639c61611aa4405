"""The task loop: works through the list once, within limits, and says what came of it.

Each task: intended ─▶ in_progress in the list ─▶ begun ─▶ performed ─▶ ended ─▶ its status in the
list. A crash at any of these points leaves a task pending, settled, or of unknown outcome; a task
of unknown outcome is a person's to resolve, and is not begun again until then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from agency.clock import new_id
from agency.workspace.tasks.journal import Outcome
from agency.workspace.tasks.model import Task
from agency.workspace.tasks.performer import (
    Assignment,
    NotBegunError,
    PausedError,
    Performer,
    UnansweredError,
)
from agency.workspace.tasks.place import TaskPlace
from agency.workspace.tasks.scheduler import (
    Limits,
    Progress,
    Stop,
    corrections,
    held_back,
    next_task,
    why_stop,
)

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Done:
    """One task that a run did."""

    task: str
    outcome: Outcome
    note: str
    tokens: int


@dataclass(slots=True)
class Report:
    """Report of a run: what it did and found.

    `paused` is the task that goes on in the next run, with the reason; `unknown` are all tasks of
    unknown outcome, `waiting` those that need tasks which no loop will
    complete, by name.
    """

    done: list[Done] = field(default_factory=list)
    stop: Stop | None = None
    paused: dict[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    waiting: dict[str, list[str]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Return whether nothing of it needs a person."""
        return not self.unknown and self.stop not in {Stop.MAX_ERRORS, Stop.UNANSWERED}

    def as_dict(self) -> dict[str, object]:
        """Describe it as `--json` prints it."""
        return {
            "ok": self.ok,
            "done": [
                {"task": one.task, "outcome": one.outcome, "note": one.note, "tokens": one.tokens}
                for one in self.done
            ],
            "paused": self.paused,
            "stopped": None if self.stop is None else str(self.stop),
            "unknown": list(self.unknown),
            "waiting": self.waiting,
        }


@dataclass(slots=True)
class Loop:
    """The loop over one workspace; `new_run` makes the id of a run of one task."""

    place: TaskPlace
    performer: Performer
    limits: Limits
    context: str = ""
    model: str | None = None
    new_run: Callable[[], str] = lambda: new_id("task")

    async def run(self) -> Report:
        """Work until a limit is reached or nothing is left.

        Raises:
            BusyError: another loop runs. AgencyError: list or journal cannot be read or written.
        """
        with self.place.run_lock():
            await asyncio.to_thread(self._clear)
            report = await self._work()
            self._look_back(report)
            return report

    def _clear(self) -> None:
        """End what a killed run left running; its task is of unknown outcome."""
        with self.place.sheet_lock():
            journal = self.place.journal.read()
        for record in journal.values():
            if record.event == "begun":
                _LOG.warning(
                    "task %s: an earlier run ended in its midst; its outcome is unknown",
                    record.task,
                )
                self.performer.end_remains(record.run)
        with self.place.sheet_lock():
            journal = self.place.journal.read()
            for record in journal.values():
                if record.event == "begun":
                    note = "the run ended in its midst"
                    self.place.journal.append(record.task, "ended", record.run, "unknown", note)
            self.place.journal.compact(task.name for task in self.place.read_tasks())

    def _settle(self) -> list[Task]:
        tasks = self.place.read_tasks()
        return self.place.change_tasks(corrections(tasks, self.place.journal.read()))

    async def _work(self) -> Report:
        report = Report()
        began = self.place.clock.steady()
        progress = Progress()
        while True:
            elapsed = self.place.clock.steady() - began
            progress = replace(progress, elapsed_s=elapsed)
            report.stop = why_stop(self.limits, progress)
            if report.stop is not None:
                return report
            begun = self._begin()
            if begun is None:
                report.stop = Stop.NOTHING_LEFT
                return report
            task, run = begun
            try:
                done = await self._perform(task, run, self.limits.max_wall_s - elapsed)
            except UnansweredError as paused:
                _LOG.warning("task %s: paused: %s", task.name, paused.message)
                report.paused[task.name] = paused.message
                report.stop = Stop.BUDGET if paused.why == "budget" else Stop.UNANSWERED
                return report
            report.done.append(done)
            progress = replace(
                progress,
                tasks=progress.tasks + 1,
                errors=progress.errors + 1 if done.outcome == "failed" else 0,
                tokens=progress.tokens + done.tokens,
            )

    def _begin(self) -> tuple[Task, str] | None:
        """Begin the next task with a new run, or with its own where that was paused."""
        with self.place.sheet_lock():
            tasks, journal = self._settle(), self.place.journal.read()
            task = next_task(tasks, journal)
            if task is None:
                return None
            last = journal.get(task.name)
            paused = last is not None and last.event == "paused"
            run = last.run if last is not None and paused else self.new_run()
            self.place.journal.append(task.name, "intended", run)
            self.place.change_tasks({task.name: {"status": "in_progress"}})
            self.place.journal.append(task.name, "begun", run)
        _LOG.info("task %s: %s (%s)", task.name, "goes on" if paused else "begun", run)
        return task, run

    async def _perform(self, task: Task, run: str, left_s: float) -> Done:
        assignment = Assignment(
            task=task,
            run=run,
            workspace=self.place.workspace,
            timeout_s=left_s,
            context=self.context,
            model=self.model,
        )
        try:
            performed = await self.performer.perform(assignment)
        except NotBegunError:
            self._end(task, run, "pending", "it could not be begun")
            raise
        except PausedError:
            with self.place.sheet_lock():
                self.place.journal.append(task.name, "paused", run)
                self._settle()
            raise
        except BaseException:
            self._end(task, run, "unknown", "the run was stopped in its midst")
            raise
        self._end(task, run, performed.outcome, performed.note)
        if performed.outcome == "failed":
            _LOG.warning("task %s: failed: %s", task.name, performed.note)
        else:
            _LOG.info("task %s: completed: %s", task.name, performed.note)
        return Done(task.name, performed.outcome, performed.note, performed.tokens)

    def _end(self, task: Task, run: str, outcome: Outcome, note: str) -> None:
        printable = "".join(c if c.isprintable() else " " for c in note).strip() or outcome
        with self.place.sheet_lock():
            self.place.journal.append(task.name, "ended", run, outcome, printable)
            self._settle()

    def _look_back(self, report: Report) -> None:
        with self.place.sheet_lock():
            journal = self.place.journal.read()
            tasks = self.place.read_tasks()
        report.unknown = tuple(task.name for task in tasks if task.status == "unknown")
        report.waiting = held_back(tasks, journal)
