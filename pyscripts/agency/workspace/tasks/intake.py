"""Intake of the list: due schedules, and open issues of the forge."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from agency.canonical import sha256_hex
from agency.forge import Forge, Issue
from agency.settings import MAX_BYTES
from agency.workspace.sheets import entry_bytes
from agency.workspace.tasks.due import look, name_at
from agency.workspace.tasks.model import MOST_TASKS, Priority, Task
from agency.workspace.tasks.place import TaskPlace

MOST_ISSUES = 200
_MAX_TEXT = 6000
LIST_BYTES = MAX_BYTES - 32 * MOST_TASKS  # each task that is there gets a status, too
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_OF_A_NAME = re.compile(r"[a-z0-9-]{1,50}\Z")
_NOT_OF_A_NAME = re.compile(r"[^a-z0-9]+")
_PRIORITY = "priority:"


class Wish(BaseModel):
    """A task that something outside of the workspace asks for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    description: str
    priority: Priority = "normal"
    source: str
    source_ref: str


class Wishes(BaseModel):
    """Wishes as `agency workspace collect` writes them, for `schedule` to read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    wishes: list[Wish] = Field(default_factory=list, max_length=MOST_ISSUES)


@dataclass(frozen=True, slots=True)
class Taken:
    """Names of the tasks that were added; `refused` says of a wish why it was not taken."""

    added: tuple[str, ...]
    refused: tuple[str, ...] = ()
    passed_over: int = 0


def take_due(place: TaskPlace) -> Taken:
    """Make the tasks of the schedules that are due.

    The marks are written after the tasks: a crash in between makes nothing twice, because a due
    time makes a task of one name, and no name is taken twice.
    """
    schedules = place.read_schedules()
    with place.sheet_lock():
        found = look(schedules, place.read_marks(), place.clock.utc())
        wishes = [
            Wish(
                name=name_at(schedule, moment),
                description=schedule.description,
                priority=schedule.priority,
                source=f"schedule {schedule.name}",
                source_ref=f"schedule:{schedule.name}@{moment:%Y-%m-%dT%H:%MZ}",
            )
            for schedule, moment in found.due
        ]
        taken = _take(place, wishes)
        place.write_marks(found.marks)
    return Taken(taken.added, taken.refused, sum(found.passed_over.values()))


def take(place: TaskPlace, wishes: Iterable[Wish]) -> Taken:
    """Add the wishes that were never taken."""
    with place.sheet_lock():
        return _take(place, list(wishes))


def _take(place: TaskPlace, wishes: list[Wish]) -> Taken:
    tasks = place.read_tasks()
    names = {task.name for task in tasks} | place.journal.read().keys()
    refs = {task.source_ref for task in tasks}
    room, space = MOST_TASKS - len(tasks), LIST_BYTES - place.sheet_path.stat().st_size
    added: list[Task] = []
    refused: list[str] = []
    for wish in wishes:
        if wish.name in names or wish.source_ref in refs:
            continue
        if len(added) >= room:
            refused.append(f"{wish.name}: TASKS.yaml is full; remove what is done")
            continue
        task = Task.model_validate(wish.model_dump())
        needed = entry_bytes(task.model_dump(exclude_defaults=True))
        if needed > space:
            refused.append(f"{wish.name}: TASKS.yaml has no room for it; remove what is done")
            continue
        space -= needed
        added.append(task)
        names.add(wish.name)
        refs.add(wish.source_ref)
    place.change_tasks({}, tuple(added))
    return Taken(tuple(task.name for task in added), tuple(refused))


async def collect(forge: Forge, projects: Iterable[str], label: str) -> Wishes:
    """Read the open issues with a label from projects of a forge.

    Raises:
        ForgeError: the forge refuses or is silent.
    """
    wishes: list[Wish] = []
    for project in projects:
        issues = await forge.open_issues(project)
        wishes += [_of_issue(project, one) for one in issues if one.open and label in one.labels]
    return Wishes(wishes=sorted(wishes, key=lambda wish: wish.name)[:MOST_ISSUES])


def _of_issue(project: str, issue: Issue) -> Wish:
    text = f"{issue.title}\n\n{issue.text}".replace("\r\n", "\n").strip()
    text = _UNPRINTABLE.sub(" ", text)[:_MAX_TEXT]
    return Wish(
        name=f"issue-{_slug(project)}-{issue.number}",
        description=f"{text}\n\n({issue.web_url}, by {issue.author.name})"[:8000],
        priority=_priority(issue.labels),
        source=f"issue {project}#{issue.number}",
        source_ref=f"issue:{project}#{issue.number}",
    )


def _slug(project: str) -> str:
    """Make a part of a name of a project's path; two paths never have the same."""
    plain = project.replace("/", "--")
    if _OF_A_NAME.match(plain):
        return plain
    return (
        _NOT_OF_A_NAME.sub("-", plain.lower())[:40].strip("-")
        + f"-{sha256_hex(project.encode())[:8]}"
    )


def _priority(labels: Iterable[str]) -> Priority:
    named = {label.removeprefix(_PRIORITY) for label in labels if label.startswith(_PRIORITY)}
    if "urgent" in named:
        return "urgent"
    if "high" in named:
        return "high"
    return "low" if "low" in named else "normal"
