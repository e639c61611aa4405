"""Commands of an agent's tasks: the list, what comes into it, and the loop."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from agency.commandline import emit, json_option
from agency.workspace.options import settings_option, workspace_option

if TYPE_CHECKING:
    from rich.console import Console

    from agency.workspace.tasks.intake import Taken
    from agency.workspace.tasks.loop import Report
    from agency.workspace.tasks.model import Priority, Task
    from agency.workspace.tasks.place import TaskPlace

_PRIORITIES = ("urgent", "high", "normal", "low")

_state_option = click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where its journal is.  [default: ~/.local/state/agency-tasks]",
)


def _place(workspace: Path | None, state: Path | None, home: Path | None = None) -> TaskPlace:
    from agency.workspace.config import WORKSPACE
    from agency.workspace.tasks.place import STATE, TaskPlace

    home = home or Path.home()
    return TaskPlace(workspace or home / WORKSPACE, state or home / STATE)


@click.group()
def tasks() -> None:
    """List, check and add an agent's tasks, and settle those of unknown outcome."""


@tasks.command("list")
@workspace_option
@_state_option
@json_option
def list_tasks(workspace: Path | None, state: Path | None, as_json: bool) -> None:
    """List the tasks, with what the journal says of them."""
    from agency.workspace.tasks.scheduler import corrections, held_back

    place = _place(workspace, state)
    with place.sheet_lock():
        journal = place.journal.read()
        found = place.read_tasks()
    changes = corrections(found, journal)
    rows = [task.model_copy(update=dict(changes.get(task.name, {}))) for task in found]
    waiting = held_back(found, journal)
    emit(
        {"tasks": [row.model_dump(exclude_none=True) for row in rows], "waiting": waiting},
        as_json=as_json,
        human=lambda console: _print_tasks(console, rows, waiting),
    )


@tasks.command()
@workspace_option
@json_option
def check(workspace: Path | None, as_json: bool) -> None:
    """Check TASKS.yaml and SCHEDULES.yaml; exit 1 where one has faults."""
    place = _place(workspace, None)
    found, schedules = place.read_tasks(), place.read_schedules()
    emit(
        {"ok": True, "tasks": len(found), "schedules": len(schedules)},
        as_json=as_json,
        human=lambda console: console.print(
            f"good: {len(found)} tasks, {len(schedules)} schedules"
        ),
    )


@tasks.command()
@click.argument("name")
@click.argument("description")
@click.option(
    "--priority", type=click.Choice(_PRIORITIES), default="normal", help="What comes first."
)
@click.option("--needs", multiple=True, metavar="NAME", help="A task to be completed before.")
@workspace_option
@_state_option
@json_option
def add(
    name: str,
    description: str,
    priority: Priority,
    needs: tuple[str, ...],
    workspace: Path | None,
    state: Path | None,
    as_json: bool,
) -> None:
    """Add a task to the list; comments in it stay."""
    from pydantic import ValidationError

    from agency.errors import UsageError
    from agency.settings import explain
    from agency.workspace.tasks.model import Task

    place = _place(workspace, state)
    try:
        task = Task(name=name, description=description, priority=priority, needs=list(needs))
    except ValidationError as error:
        raise UsageError(explain(error)) from None
    with place.sheet_lock():
        if name in place.journal.read() or name in {one.name for one in place.read_tasks()}:
            raise UsageError(f"there was a task {name!r} before", hint="take a new name")
        place.change_tasks({}, (task,))
    emit({"task": name}, as_json=as_json, human=lambda console: console.print(f"added: {name}"))


@tasks.command()
@click.argument("name")
@click.option(
    "--as",
    "outcome",
    type=click.Choice(["completed", "failed", "pending"]),
    required=True,
    help="What is true of it; pending lets it be done again.",
)
@workspace_option
@_state_option
@json_option
def resolve(
    name: str,
    outcome: Literal["completed", "failed", "pending"],
    workspace: Path | None,
    state: Path | None,
    as_json: bool,
) -> None:
    """Settle a task whose outcome is unknown, or let a finished one be done again."""
    from agency.workspace.tasks.resolving import settle

    settle(_place(workspace, state), name, outcome)
    emit(
        {"task": name, "status": outcome},
        as_json=as_json,
        human=lambda console: console.print(f"{name}: {outcome}"),
    )


@click.command()
@click.argument("agent")
@settings_option
@workspace_option
@_state_option
@click.option(
    "--wishes",
    type=click.Path(path_type=Path, dir_okay=False),
    help="What `collect` wrote.  [default: wishes.json of the unit's credentials, if there]",
)
@json_option
def schedule(
    agent: str,
    directory: Path,
    workspace: Path | None,
    state: Path | None,
    wishes: Path | None,
    as_json: bool,
) -> int:
    """Take new work into AGENT's task list: due schedules, and what was collected for it."""
    from agency.commandline import log_to_stderr
    from agency.workspace.config import feature_off, load_agent
    from agency.workspace.tasks.intake import take_due
    from agency.workspace.tasks.wishing import take_wishes, wishes_file

    log_to_stderr()
    found = load_agent(agent, directory)
    if found.task_loop is None:
        raise feature_off(agent, "taskLoop")
    place = _place(workspace, state, found.home)
    taken = [take_due(place)]
    file = wishes or wishes_file()
    if file is not None:
        taken.append(take_wishes(place, file))
    return _tell_taken(taken, as_json=as_json)


@click.command("task-loop")
@click.argument("agent")
@settings_option
@workspace_option
@_state_option
@click.option(
    "--program",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="How the agent's builtin program does tasks, as the control plane wrote it when it started"
    " the agent.  [default: work.json of the unit's credentials, if there]",
)
@json_option
def task_loop(
    agent: str,
    directory: Path,
    workspace: Path | None,
    state: Path | None,
    program: Path | None,
    as_json: bool,
) -> int:
    """Work through AGENT's task list once, within its limits.

    Tasks are done by the command in its settings; without one by its builtin program, whose tokens
    are in $CREDENTIALS_DIRECTORY.
    Exits with 1 if a task's outcome is unknown, too many failed in a row, or no model answers.
    """
    from agency.commandline import log_to_stderr
    from agency.workspace.config import load_agent
    from agency.workspace.tasks.running import loop_of, program_file, run_until_signal

    log_to_stderr()
    found = load_agent(agent, directory)
    place = _place(workspace, state, found.home)
    loop = loop_of(found, place, program or program_file())
    report = asyncio.run(run_until_signal(loop))
    emit(report.as_dict(), as_json=as_json, human=lambda console: _print_report(console, report))
    return 0 if report.ok else 1


@click.command()
@click.argument("agent")
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The forge, its projects and the label, as JSON.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Where the wishes are written.",
)
@json_option
def collect(agent: str, config_path: Path, output: Path, as_json: bool) -> None:
    """Read the forge's open issues for AGENT, for `schedule` to take.

    Runs as another user than the agent, who must not hold the forge's token; reads it from the
    credential forge-token.
    """
    from agency.workspace.tasks.wishing import collect_to, read_token

    found = asyncio.run(collect_to(agent, config_path, output, read_token()))
    emit(
        {"wishes": len(found.wishes)},
        as_json=as_json,
        human=lambda console: console.print(f"{len(found.wishes)} issues"),
    )


def _tell_taken(taken: list[Taken], *, as_json: bool) -> int:
    added = [name for one in taken for name in one.added]
    refused = [name for one in taken for name in one.refused]
    passed = sum(one.passed_over for one in taken)
    told = {"ok": not refused, "added": added, "refused": refused, "passed_over": passed}

    def human(console: Console) -> None:
        for name in added:
            console.print(f"added: {name}")
        for line in refused:
            console.print(f"refused: {line}", markup=False)
        if passed:
            console.print(f"{passed} due times passed while nothing looked")
        if not added and not refused:
            console.print("nothing new")

    emit(told, as_json=as_json, human=human)
    return 1 if refused else 0


def _print_tasks(console: Console, rows: list[Task], waiting: dict[str, list[str]]) -> None:
    if not rows:
        console.print("there is no task")
    for task in rows:
        more = f" (needs {', '.join(waiting[task.name])})" if task.name in waiting else ""
        note = f": {task.note}" if task.note else ""
        console.print(f"{task.status} {task.name} [{task.priority}]{more}{note}", markup=False)


def _print_report(console: Console, report: Report) -> None:
    for done in report.done:
        console.print(f"{done.outcome} {done.task}: {done.note}", markup=False)
    for name, note in report.paused.items():
        console.print(f"paused {name}: {note}", markup=False)
    for name in report.unknown:
        console.print(
            f"unknown {name}: `agency workspace tasks resolve {name} --as ...`", markup=False
        )
    for name, needs in report.waiting.items():
        console.print(f"waiting {name}: needs {', '.join(needs)}", markup=False)
    console.print(f"stopped: {report.stop}")
