"""Files of one workspace's tasks, and the locks over them."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agency.clock import Clock
from agency.errors import AgencyError, BadInputError, PrerequisiteError
from agency.files import write_atomically
from agency.locks import only_one, try_lock
from agency.settings import MAX_BYTES, parse, read_bounded
from agency.workspace.sheets import changed_text, parse_sheet, read_sheet, write_sheet
from agency.workspace.tasks.due import Marks
from agency.workspace.tasks.journal import Journal
from agency.workspace.tasks.model import (
    SCHEDULE_EXAMPLES,
    TASK_EXAMPLES,
    ScheduledTask,
    Schedules,
    Task,
    Tasks,
    schedule_rules,
    task_rules,
)

STATE = Path(".local/state/agency-tasks")
_SHEET_WAIT_S = 10.0
_POLL_S = 0.02
_LOCK_HINT = "make the directory the agent's own, and writable"


class BusyError(AgencyError):
    """A run or a change by another process, which holds the lock."""


class FullError(BadInputError):
    """A change that would make the list larger than a sheet may be; the old list is intact."""


@dataclass(slots=True)
class TaskPlace:
    """A workspace and the state of its tasks, which is outside of the repository."""

    workspace: Path
    state: Path
    clock: Clock = field(default_factory=Clock)

    @property
    def sheet_path(self) -> Path:
        """TASKS.yaml."""
        return self.workspace / "TASKS.yaml"

    @property
    def journal(self) -> Journal:
        """The journal of this workspace."""
        return Journal(self.state / "journal.jsonl", self.clock)

    @contextlib.contextmanager
    def run_lock(self) -> Iterator[None]:
        """Hold the lock of the loop; raises BusyError if another loop runs."""
        self._make()
        busy = BusyError(
            "another run works through these tasks", where=str(self.state), hint="let it end"
        )
        with only_one(self.state / "run.lock", busy, hint=_LOCK_HINT):
            yield

    @contextlib.contextmanager
    def sheet_lock(self) -> Iterator[None]:
        """Hold the lock of the list and the journal, which nobody holds for long.

        Raises:
            BusyError: another process does hold it for long.
        """
        self._make()
        path = self.state / "sheet.lock"
        deadline = time.monotonic() + _SHEET_WAIT_S
        while (descriptor := try_lock(path, hint=_LOCK_HINT)) is None:
            if time.monotonic() > deadline:
                raise BusyError(f"still locked after {_SHEET_WAIT_S:g} s", where=str(path))
            time.sleep(_POLL_S)
        try:
            yield
        finally:
            os.close(descriptor)

    def _make(self) -> None:
        if not self.workspace.is_dir():
            raise PrerequisiteError(
                "there is no workspace here",
                where=str(self.workspace),
                hint="the reconciler agent-workspaces makes it; or name one with --workspace",
            )
        try:
            self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.state.stat()
        except OSError as error:
            raise PrerequisiteError(
                f"cannot make the state of tasks: {error.strerror or error}",
                where=str(self.state),
                hint=_LOCK_HINT,
            ) from error
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise PrerequisiteError(
                "the journal of tasks is another user's, or others may write there",
                where=str(self.state),
                hint="run this as the agent: `runuser -u agent-NAME -- agency workspace tasks ...`",
            )

    def read_tasks(self) -> list[Task]:
        """Read TASKS.yaml.

        Raises:
            PrerequisiteError: it cannot be read. SheetError: it has faults.
        """
        return read_sheet(self.sheet_path, Tasks, task_rules, TASK_EXAMPLES)[0].tasks

    def read_schedules(self) -> list[ScheduledTask]:
        """Read SCHEDULES.yaml; errors are those of `read_tasks`."""
        path = self.workspace / "SCHEDULES.yaml"
        return read_sheet(path, Schedules, schedule_rules, SCHEDULE_EXAMPLES)[0].schedules

    def change_tasks(
        self, changes: Mapping[str, Mapping[str, str]], added: tuple[Task, ...] = ()
    ) -> list[Task]:
        """Set fields of tasks by their name, append tasks, and return the new list.

        Comments and order stay. Notes that no room is left for are in the journal alone. The caller
        holds the lock of the sheet.

        Raises:
            FullError: the list would be too large. AgencyError: it cannot be read or written.
        """
        try:
            return self._changed(changes, added)
        except FullError:
            short = {
                name: {field: value for field, value in fields.items() if field != "note"}
                for name, fields in changes.items()
            }
            if short == changes:
                raise
            return self._changed(short, added)

    def _changed(
        self, changes: Mapping[str, Mapping[str, str]], added: tuple[Task, ...]
    ) -> list[Task]:
        sheet, content = read_sheet(self.sheet_path, Tasks, task_rules, TASK_EXAMPLES)
        names = {task.name for task in sheet.tasks}
        changes = {name: fields for name, fields in changes.items() if name in names and fields}
        if not changes and not added:
            return sheet.tasks
        expected = Tasks(
            tasks=[
                *(task.model_copy(update=dict(changes.get(task.name, {}))) for task in sheet.tasks),
                *added,
            ]
        )
        new = changed_text(
            content, "tasks", changes, (task.model_dump(exclude_defaults=True) for task in added)
        )
        if len(new) > MAX_BYTES:
            raise FullError(
                f"would be larger than {MAX_BYTES} bytes",
                where=str(self.sheet_path),
                hint="remove from it what is done: the journal knows that",
            )
        found = parse_sheet(str(self.sheet_path), new, Tasks, task_rules, TASK_EXAMPLES)
        write_sheet(self.sheet_path, new, expected, found)
        return found.tasks

    def read_marks(self) -> Marks:
        """Read how far schedules were looked at."""
        path = self.state / "schedules.json"
        if not path.exists():
            return Marks()
        hint = "remove it: every schedule is then due from now on"
        return parse(Marks, read_bounded(path, most=16 * 2**20), where=str(path), hint=hint)

    def write_marks(self, marks: Marks) -> None:
        """Keep how far schedules were looked at."""
        write_atomically(
            self.state / "schedules.json", marks.model_dump_json().encode(), mode=0o600
        )
