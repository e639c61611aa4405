"""Performing one task: the interface, and the performer that runs a configured command.

A command gets the paths of two files in its environment: AGENCY_TASK, the task as JSON, and
AGENCY_TASK_RESULT, where it may write `{"note": TEXT, "tokens": NUMBER}`. Exit status 0 is done.
With another status and `"away": true` in the result, what it works by has ended: it is started
again with the same files, within a bound, and then by the next run of the loop. With `"paused":
"budget"` or `"errors"` it is for the next run at once: a model answers nothing now. How often is
bounded, so that no task which is never answered keeps the others back for ever.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from agency import guarded
from agency.children import Child, ChildSpec, kill_marked, start_child
from agency.clock import Clock
from agency.errors import AgencyError, PrerequisiteError
from agency.files import write_atomically
from agency.programs import Bounds, find_program
from agency.settings import parse, read_bounded
from agency.workspace.logs import prune
from agency.workspace.tasks.model import Task

_log = logging.getLogger(__name__)

Pause = Literal["budget", "errors"]
_RESULT = "result.json"
_GRACE_S = 10.0
_BOUNDS = Bounds(file_bytes=1024**3)
_PAUSES = "pauses.json"  # beside the task
MOST_RUNS, MOST_DAYS = 24, 3  # in a row without any answer: runs with errors, days without budget
AWAY_S = 120.0  # an agent that was killed is started again within that, but for long back-offs
_AWAY_LOOK_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A task with what its performer must know; `context` is text about known issues."""

    task: Task
    run: str
    workspace: Path
    timeout_s: float
    context: str = ""
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Performed:
    """Outcome of a task; `note` is one line, `tokens` what it took of the budget."""

    outcome: Literal["completed", "failed"]
    note: str
    tokens: int = 0


class NotBegunError(PrerequisiteError):
    """Failure before anything of a task was done; the task stays pending."""


class PausedError(PrerequisiteError):
    """End of the waiting for what a task is done by: it goes on where it was, in a later run."""


class UnansweredError(PausedError):
    """Pause because no model answers now: the budget is spent, or each call fails."""

    def __init__(self, why: Pause, note: str) -> None:
        super().__init__(note, hint="the next run of the loop goes on with the task")
        self.why = why


class Performer(Protocol):
    """Interface of what does a task."""

    async def perform(self, assignment: Assignment) -> Performed:
        """Do the task, within its time.

        A cancelled call ends all that it started before it returns.

        Raises:
            NotBegunError: nothing was done. PausedError: asked again with the same run, it goes on.
                After any other error the outcome is unknown.
        """

    def end_remains(self, run: str) -> None:
        """End what an earlier, killed run left running.

        Raises:
            AgencyError: some of it still runs.
        """


class _Result(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    note: str = Field(default="", max_length=4000)
    tokens: int = Field(default=0, ge=0)
    away: bool = False
    paused: Pause | None = None


class Pauses(BaseModel):
    """Pauses of a task since a model last answered it: `day` is the last one without budget."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    runs: int = 0
    days: int = 0
    day: str = ""

    def more(self, why: Pause, day: str) -> Pauses:
        """Count one more."""
        if why == "errors":
            return self.model_copy(update={"runs": self.runs + 1})
        days = self.days + (day != self.day)
        return self.model_copy(update={"days": days, "day": day})

    @property
    def too_many(self) -> bool:
        """Return whether the task is paused no more."""
        return self.runs > MOST_RUNS or self.days > MOST_DAYS


@dataclass(frozen=True, slots=True)
class CommandPerformer:
    """Performer that runs a command in the workspace; what it prints goes to `logs/`."""

    argv: Sequence[str]
    state: Path
    home: Path
    env: Mapping[str, str] = field(default_factory=dict)
    away_s: float = AWAY_S
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    clock: Clock = field(default_factory=Clock)

    def end_remains(self, run: str) -> None:
        """End the processes of an earlier run."""
        kill_marked(run, _GRACE_S)

    async def perform(self, assignment: Assignment) -> Performed:
        """Run the command to its end; start it again where it says that its agent is away."""
        folder = self.state / "runs" / assignment.run
        logs = assignment.workspace / "logs"
        try:
            folder.mkdir(parents=True, mode=0o700, exist_ok=True)  # of a run that was paused
            (folder / "task.json").write_text(_as_json(assignment))
            logs.mkdir(exist_ok=True)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise NotBegunError(
                f"cannot hand over the task: {error.strerror or error}",
                where=str(error.filename or folder),
                hint="check the free space and the owner of that directory",
            ) from error
        kept = False
        try:
            return await self._through(assignment, folder, logs)
        except PausedError:
            kept = True
            raise
        finally:
            if not kept:
                shutil.rmtree(folder, ignore_errors=True)
            prune(logs, "task-*.log")

    async def _through(self, assignment: Assignment, folder: Path, logs: Path) -> Performed:
        """Run the command until it is not told that its agent is away, or for so long."""
        deadline = time.monotonic() + assignment.timeout_s
        waited, tokens = 0.0, 0
        while True:
            (folder / _RESULT).unlink(missing_ok=True)
            left = replace(assignment, timeout_s=max(0.0, deadline - time.monotonic()))
            child = await self._started(left, folder, logs)
            status = await self._ended(child, left)
            told, problem = _told(folder)
            tokens += told.tokens
            whole = told.model_copy(update={"tokens": tokens})
            if told.paused and status:
                return self._unanswered(folder, told.paused, whole)
            if not (told.away and status):
                return _judge(status, assignment, whole, problem)
            if waited >= self.away_s:
                raise PausedError(
                    f"the agent is away, and {assignment.task.name} waits for it: {told.note}",
                    hint="start the agent: the next run of the loop goes on with the task",
                )
            await self.sleep(_AWAY_LOOK_S)
            waited += _AWAY_LOOK_S

    def _unanswered(self, folder: Path, why: Pause, told: _Result) -> Performed:
        """Return the failure of a task that was paused too often.

        Raises:
            UnansweredError: it was not.
        """
        note, file = " ".join(told.note.split()), folder / _PAUSES
        before = Pauses() if told.tokens else _pauses(file)
        pauses = before.more(why, self.clock.now_iso()[:10])
        if pauses.too_many:
            often = f"{MOST_RUNS} times" if why == "errors" else f"on {MOST_DAYS} days"
            return Performed("failed", f"paused {often} without an answer: {note}", told.tokens)
        try:
            write_atomically(file, pauses.model_dump_json().encode(), mode=0o600)
        except AgencyError as error:
            _log.warning("a pause is not counted: %s", error.message)
        raise UnansweredError(why, note)

    async def _started(self, assignment: Assignment, folder: Path, logs: Path) -> Child:
        try:
            program = find_program(self.argv[0], hint="install it, or name it by its path")
            spec = ChildSpec(
                name=f"task {assignment.task.name}",
                argv=[*_BOUNDS.prefix(), program, *self.argv[1:]],
                env={
                    "HOME": str(self.home),
                    "AGENCY_TASK": str(folder / "task.json"),
                    "AGENCY_TASK_RESULT": str(folder / _RESULT),
                    **self.env,
                },
                cwd=assignment.workspace,
                log_path=logs / f"task-{assignment.run}.log",
            )
            return await start_child(spec, marker=assignment.run)
        except AgencyError as error:
            raise NotBegunError(error.message, where=error.where, hint=error.hint) from error

    async def _ended(self, child: Child, assignment: Assignment) -> int | None:
        try:
            async with asyncio.timeout(assignment.timeout_s):
                return await child.wait()
        except TimeoutError:
            return None
        finally:
            await child.stop(_GRACE_S)
            await asyncio.to_thread(kill_marked, assignment.run, _GRACE_S)


def _as_json(assignment: Assignment) -> str:
    task = assignment.task
    told: dict[str, object] = {
        "name": task.name,
        "description": task.description,
        "priority": task.priority,
        "source": task.source,
        "run": assignment.run,
        "timeout_s": assignment.timeout_s,
        "context": assignment.context,
        "model": assignment.model,
    }
    return json.dumps(told, ensure_ascii=False)


def _told(folder: Path) -> tuple[_Result, str]:
    """Read the result, and why it cannot be read."""
    try:
        with guarded.directory(folder) as inside:
            if guarded.look(inside, _RESULT).kind is not guarded.Kind.ABSENT:
                told = parse(_Result, guarded.read(inside, _RESULT) or b"", where="the result")
                return told, ""
    except AgencyError as error:
        return _Result(), f"its result cannot be read: {error.message}"
    return _Result(), ""


def _pauses(file: Path) -> Pauses:
    """Read how often a task was paused; what cannot be read is none."""
    try:
        return Pauses.model_validate_json(read_bounded(file, what="the count of pauses"))
    except (AgencyError, ValueError):
        return Pauses()


def _judge(status: int | None, assignment: Assignment, told: _Result, problem: str) -> Performed:
    note = " ".join(told.note.split())
    if status is None:
        return Performed("failed", f"no end after {assignment.timeout_s:g} s", told.tokens)
    if status != 0:
        what = f"exit status {status}" if status > 0 else f"ended by signal {-status}"
        return Performed("failed", f"{what}: {note}" if note else what, told.tokens)
    if problem:
        return Performed("failed", problem, told.tokens)
    return Performed("completed", note or "done", told.tokens)
