"""A person's decision on a task: settle an unknown outcome, or let a task be done again."""

from __future__ import annotations

from typing import Literal

from agency.clock import new_id
from agency.errors import UsageError
from agency.workspace.tasks.place import TaskPlace


def settle(place: TaskPlace, name: str, outcome: Literal["completed", "failed", "pending"]) -> None:
    """Put the decision on record, and into the list.

    Raises:
        UsageError: there is no such task, or a loop is at it.
    """
    with place.sheet_lock():
        task = next((one for one in place.read_tasks() if one.name == name), None)
        if task is None:
            raise UsageError(f"there is no task {name!r}", where=str(place.sheet_path))
        record = place.journal.read().get(name)
        if record is not None and record.event in {"intended", "begun"} and _loop_runs(place):
            raise UsageError(f"a loop is at {name!r}", hint="let it end, or stop it")
        note = "as a person said"
        place.journal.append(name, "resolved", new_id("task"), outcome, note)
        place.change_tasks({name: {"status": outcome, "note": note}})


def _loop_runs(place: TaskPlace) -> bool:
    from agency.locks import is_held

    return is_held(place.state / "run.lock")
