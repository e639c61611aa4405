"""Models of TASKS.yaml and SCHEDULES.yaml, and their rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from agency.gosuto import Schedule
from agency.workspace.fields import Line, Name, Text
from agency.yaml_source import Loc

MOST_TASKS = 1000
MOST_SCHEDULES = 100

Status = Literal["pending", "in_progress", "completed", "failed", "blocked", "unknown"]
Priority = Literal["urgent", "high", "normal", "low"]
PRIORITIES: tuple[Priority, ...] = ("urgent", "high", "normal", "low")


class _Sheet(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Task(_Sheet):
    """One task."""

    name: Name = Field(description="its name, for ever: a finished task's name is not used again")
    description: Text = Field(description="what is to be done")
    status: Status = Field(
        default="pending",
        description="where it stands; `unknown` is for a person to resolve",
    )
    priority: Priority = Field(default="normal", description="what comes first")
    needs: list[Name] = Field(
        default_factory=list, max_length=50, description="tasks that must be completed before"
    )
    source: Line | None = Field(default=None, description="where it came from")
    source_ref: Line | None = Field(
        default=None, description="what it was made of; nothing is taken twice"
    )
    note: Line | None = Field(default=None, description="what came of it, in one line")


class Tasks(_Sheet):
    """TASKS.yaml."""

    tasks: list[Task] = Field(max_length=MOST_TASKS, description="the tasks, in order")


class ScheduledTask(_Sheet):
    """Entry of SCHEDULES.yaml: makes a task at every due time."""

    name: Annotated[
        str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,58}[a-z0-9])?$", strict=True)
    ] = Field(description="the name that its tasks begin with")
    cron: Schedule = Field(description="when: five fields as in crontab(5), in UTC")
    description: Text = Field(description="what is to be done each time")
    priority: Priority = Field(default="normal", description="the priority of its tasks")
    missed: Literal["last", "all"] = Field(
        default="last",
        description="due times that passed while nothing looked: the last alone, or all of them",
    )


class Schedules(_Sheet):
    """SCHEDULES.yaml."""

    schedules: list[ScheduledTask] = Field(
        max_length=MOST_SCHEDULES, description="what is to be done again and again"
    )


TASK_EXAMPLES = {
    "name": "name: mend-the-login",
    "description": "description: Mend the login page.",
    "tasks": "tasks: []",
}
SCHEDULE_EXAMPLES = {
    **TASK_EXAMPLES,
    "cron": 'cron: "0 7 * * 1-5"',
    "schedules": "schedules: []",
}


def task_rules(sheet: Tasks) -> Iterator[tuple[Loc, str]]:
    """List the faults between tasks: names twice, needs of what is not there, circles."""
    yield from _names_twice("tasks", [task.name for task in sheet.tasks])
    names = {task.name for task in sheet.tasks}
    for index, task in enumerate(sheet.tasks):
        for place, need in enumerate(task.needs):
            if need not in names:
                yield ("tasks", index, "needs", place), f"there is no task {need!r}"
    for name in circle(sheet.tasks):
        index = next(i for i, task in enumerate(sheet.tasks) if task.name == name)
        yield ("tasks", index, "needs"), "needs itself, in a circle"


def schedule_rules(sheet: Schedules) -> Iterator[tuple[Loc, str]]:
    """List the faults between schedules: names twice."""
    yield from _names_twice("schedules", [each.name for each in sheet.schedules])


def _names_twice(key: str, names: Sequence[str]) -> Iterator[tuple[Loc, str]]:
    for index, name in enumerate(names):
        if name in names[:index]:
            yield (key, index, "name"), f"{name!r} is here twice; names are unique"


def circle(tasks: Sequence[Task]) -> list[str]:
    """Return the tasks that wait for themselves, whatever is completed."""
    left = {task.name: set(task.needs) for task in tasks}
    while True:
        free = [name for name, needs in left.items() if not needs & left.keys()]
        if not free:
            break
        for name in free:
            del left[name]
    # What only waits for a circle is not one.
    reached = {name: _reach(name, left) for name in left}
    return [name for name in left if name in reached[name]]


def _reach(start: str, needs: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    stack = [need for need in needs[start] if need in needs]
    while stack:
        name = stack.pop()
        if name not in found:
            found.add(name)
            stack += [need for need in needs[name] if need in needs]
    return found


def schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schema of each sheet, by the name of its file."""
    return {
        "TASKS.yaml": Tasks.model_json_schema(),
        "SCHEDULES.yaml": Schedules.model_json_schema(),
    }
