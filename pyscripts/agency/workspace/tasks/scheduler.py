"""Decisions of the task loop: what the list should say, what is next, when to stop. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from agency.workspace.tasks.journal import Record
from agency.workspace.tasks.model import PRIORITIES, Status, Task


class Stop(StrEnum):
    """Reason why a run ends."""

    NOTHING_LEFT = "nothing left to do"
    MAX_TASKS = "as many tasks as a run may do"
    MAX_WALL_TIME = "as long as a run may take"
    MAX_ERRORS = "too many failed tasks in a row"
    MAX_TOKENS = "the budget of a run is used up"
    BUDGET = "the model's budget is spent"
    UNANSWERED = "the model does not answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one run; `max_tokens` None is no limit."""

    max_tasks: int = 5
    max_wall_s: float = 3600
    max_errors: int = 3
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Progress of a run; `errors` counts failed tasks in a row."""

    tasks: int = 0
    elapsed_s: float = 0
    errors: int = 0
    tokens: int = 0


def why_stop(limits: Limits, progress: Progress) -> Stop | None:
    """Return the limit that ends the run, or None."""
    if progress.errors >= limits.max_errors:
        return Stop.MAX_ERRORS
    if limits.max_tokens is not None and progress.tokens >= limits.max_tokens:
        return Stop.MAX_TOKENS
    if progress.elapsed_s >= limits.max_wall_s:
        return Stop.MAX_WALL_TIME
    if progress.tasks >= limits.max_tasks:
        return Stop.MAX_TASKS
    return None


def corrections(tasks: Sequence[Task], journal: Mapping[str, Record]) -> dict[str, dict[str, str]]:
    """Return what the journal says otherwise than the list: fields to set, by task.

    A list that holds a task back, by `blocked`, is believed after a person let it run again.
    """
    changes: dict[str, dict[str, str]] = {}
    for task in tasks:
        record = journal.get(task.name)
        if record is None:
            continue
        standing = record.standing
        if standing == "pending" and task.status not in {"in_progress", "unknown"}:
            continue
        wanted: dict[str, str] = {}
        if task.status != standing:
            wanted["status"] = standing
        if standing != "pending" and record.note and task.note != record.note:
            wanted["note"] = record.note
        if wanted:
            changes[task.name] = wanted
    return changes


def next_task(tasks: Sequence[Task], journal: Mapping[str, Record]) -> Task | None:
    """Return the first of the most urgent tasks that are pending and need nothing more."""
    standing = {task.name: _standing(task, journal) for task in tasks}
    ready = [
        task
        for task in tasks
        if standing[task.name] == "pending"
        and all(standing.get(need) == "completed" for need in task.needs)
    ]
    return min(ready, key=lambda task: PRIORITIES.index(task.priority), default=None)


def held_back(tasks: Sequence[Task], journal: Mapping[str, Record]) -> dict[str, list[str]]:
    """Return pending tasks that need others which no loop will complete, and those others."""
    standing = {task.name: _standing(task, journal) for task in tasks}
    stuck = {name for name, status in standing.items() if status not in {"pending", "completed"}}
    found: dict[str, list[str]] = {}
    grown = True
    while grown:
        grown = False
        for task in tasks:
            if task.name in found or standing[task.name] != "pending":
                continue
            needs = [need for need in task.needs if need in stuck]
            if needs:
                found[task.name] = needs
                stuck.add(task.name)
                grown = True
    return found


def _standing(task: Task, journal: Mapping[str, Record]) -> Status:
    record = journal.get(task.name)
    if record is None or (record.standing == "pending" and task.status != "in_progress"):
        return task.status
    return record.standing
