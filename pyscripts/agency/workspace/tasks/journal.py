"""Journal of what was done with each task: appended and flushed before and after each step.

    intended ─▶ begun ─▶ ended (completed, failed, unknown)
        │          ├─ paused: pending, and goes on with the same run
        │          └─ no end: the outcome is unknown
        └─ no begin: nothing was done, the task is pending

A record that a crash cut off was acted upon by nobody, and is dropped. The last record of a name
counts. The journal lies outside the workspace's repository, where no checkout reverts it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from agency.clock import Clock
from agency.errors import BadInputError, PrerequisiteError
from agency.files import write_atomically
from agency.jsonl import append_line, whole_lines

Event = Literal["intended", "begun", "paused", "ended", "resolved"]
Outcome = Literal["pending", "completed", "failed", "unknown"]

MAX_BYTES = 16 * 1024 * 1024
COMPACT_BYTES = 1024 * 1024
MOST_NAMES = 20_000
MAX_NOTE = 500


class Record(BaseModel):
    """One record; `outcome` is that of an end or of a person's decision."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at: str
    task: str
    event: Event
    run: str
    outcome: Outcome | None = None
    note: str | None = None

    @property
    def standing(self) -> Outcome:
        """The task's state by the journal, if nothing runs."""
        if self.event in {"intended", "paused"}:
            return "pending"
        return self.outcome or "unknown"


@dataclass(slots=True)
class Journal:
    """The journal of one workspace; its callers hold the lock of the sheet."""

    path: Path
    clock: Clock

    def read(self) -> dict[str, Record]:
        """Return the last record of each name; drop what a crash cut off.

        Raises:
            BadInputError: a record before the last is damaged. PrerequisiteError: it is unreadable.
        """
        try:
            data = self._bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._failure("read", error) from error
        whole = whole_lines(data)
        if whole.size != len(data):
            self._cut(whole.size)
        found: dict[str, Record] = {}
        for number, line in enumerate(whole.lines, 1):
            try:
                record = Record.model_validate_json(line)
            except ValidationError:
                raise BadInputError(
                    "is no record of a task",
                    where=f"{self.path}:{number}",
                    hint="mend or remove the line: what it said of its task is then unknown to us",
                ) from None
            found.pop(record.task, None)  # the order is that of the last records
            found[record.task] = record
        return found

    def _bytes(self) -> bytes:
        with self.path.open("rb") as handle:
            data = handle.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise BadInputError(f"larger than {MAX_BYTES} bytes", where=str(self.path))
        return data

    def _cut(self, size: int) -> None:
        try:
            os.truncate(self.path, size)
        except OSError as error:
            raise self._failure("mend", error) from error

    def append(
        self,
        task: str,
        event: Event,
        run: str,
        outcome: Outcome | None = None,
        note: str | None = None,
    ) -> Record:
        """Append a record; when this returns, it is on disk.

        Raises:
            PrerequisiteError: it cannot be written, and counts for nothing.
        """
        note = None if note is None else note[:MAX_NOTE]
        record = Record(
            at=self.clock.now_iso(), task=task, event=event, run=run, outcome=outcome, note=note
        )
        try:
            new = not self.path.exists()
            descriptor = os.open(
                self.path,
                os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC,
                0o600,
            )
            try:
                append_line(descriptor, record.model_dump_json(exclude_none=True).encode())
            finally:
                os.close(descriptor)
            if new:
                _sync_directory(self.path.parent)
        except OSError as error:
            raise self._failure("write", error) from error
        return record

    def compact(self, named: Iterable[str]) -> None:
        """Rewrite a long journal: the last record of each name; names of the sheet are all kept."""
        try:
            if self.path.stat().st_size < COMPACT_BYTES:
                return
        except FileNotFoundError:
            return
        found = self.read()
        kept = _kept(found, frozenset(named))
        lines = [record.model_dump_json(exclude_none=True).encode() + b"\n" for record in kept]
        write_atomically(self.path, b"".join(lines), mode=0o600)

    def _failure(self, verb: str, error: OSError) -> PrerequisiteError:
        return PrerequisiteError(
            f"cannot {verb} the journal of tasks: {error.strerror or error}",
            where=str(self.path),
            hint="check the free space and the owner of its directory; no task begins without it",
        )


def _kept(found: Mapping[str, Record], named: frozenset[str]) -> list[Record]:
    others = [record for name, record in found.items() if name not in named]
    dropped = {record.task for record in others[: max(0, len(found) - MOST_NAMES)]}
    return [record for record in found.values() if record.task not in dropped]


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
