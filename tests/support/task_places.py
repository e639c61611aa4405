"""Workspaces with tasks, and a performer that keeps count of what it did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from agency.clock import Clock
from agency.workspace.tasks.loop import Loop
from agency.workspace.tasks.performer import Assignment, Performed
from agency.workspace.tasks.place import TaskPlace
from agency.workspace.tasks.scheduler import Limits


class Moment:
    """A clock that is moved by hand: wall time and steady time, each by itself."""

    def __init__(self, wall: float = 1_700_000_000.0) -> None:
        self.wall = wall
        self.steady = 0.0

    def clock(self) -> Clock:
        return Clock(wall=lambda: self.wall, steady=lambda: self.steady)


class Counting:
    """A performer in memory: `performed` has each performance; `act` decides what comes of it."""

    def __init__(self, act: Callable[[Assignment], Performed] | None = None) -> None:
        self.performed: list[str] = []
        self.assignments: list[Assignment] = []
        self.ended: list[str] = []
        self.act = act or (lambda _: Performed("completed", "done"))

    async def perform(self, assignment: Assignment) -> Performed:
        self.performed.append(assignment.task.name)
        self.assignments.append(assignment)
        return self.act(assignment)

    def end_remains(self, run: str) -> None:
        self.ended.append(run)


def sheet(*tasks: str) -> str:
    """TASKS.yaml of tasks, each `name` or `name: FIELD, FIELD` in flow style."""
    lines = ["# The list of pm.", "tasks:"]
    for task in tasks:
        name, _, more = task.partition(": ")
        lines.append(f'  - name: "{name}"  # {name}')
        lines.append(f'    description: "Do {name}."')
        lines += [f"    {field}" for field in more.split("; ") if field]
    return "\n".join(lines if tasks else ["# The list of pm.", "tasks: []"]) + "\n"


def place_in(directory: Path, *tasks: str, clock: Clock | None = None) -> TaskPlace:
    """Make a workspace with these tasks."""
    workspace = directory / "space"
    workspace.mkdir(exist_ok=True)
    (workspace / "TASKS.yaml").write_text(sheet(*tasks))
    (workspace / "SCHEDULES.yaml").write_text("schedules: []\n")
    return TaskPlace(workspace, directory / "state", clock or Clock())


def loop_in(place: TaskPlace, performer: Counting, **limits: float) -> Loop:
    """Make a loop with these limits."""
    return Loop(place, performer, Limits(**limits))


def states(place: TaskPlace) -> dict[str, str]:
    """Return the status of each task in TASKS.yaml."""
    return {task.name: task.status for task in place.read_tasks()}
