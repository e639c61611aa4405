"""Journal of calls and approvals, so that an end of the gateway at any moment is told, not hidden.

One JSON object a line, appended before what it tells of happens. A call that was begun and has no
end was in flight when the gateway ended: its outcome is unknown. At each start the journal is
written anew, with what still counts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agency.errors import BadInputError
from agency.files import write_atomically
from agency.jsonl import append_line, whole_lines
from agency.settings import read_bounded

MAX_BYTES = 8 * 1024 * 1024
_REWRITE_BYTES = 2 * 1024 * 1024

State = Literal["pending", "approved", "denied"]


class _Kept(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Begun(_Kept):
    """A call that is about to be made. `digest` binds tool and arguments, whatever the policy."""

    kind: Literal["begun"] = "begun"
    id: str
    tool: str
    digest: str
    at: float
    trace: str | None = None
    approval: str | None = None
    told: bool = False  # its unknown outcome is on record


class Ended(_Kept):
    """End of a call, or of the doubt about it."""

    kind: Literal["ended"] = "ended"
    id: str


class Asked(_Kept):
    """An approval, as it is now; a later line of the same id takes the place of an earlier."""

    kind: Literal["asked"] = "asked"
    about: Literal["call", "tools"]
    id: str
    tool: str
    digest: str
    policy: str
    rule: str | None = None
    shown: str
    asked_at: float
    expires_at: float
    trace: str | None = None
    state: State = "pending"
    decided_by: str | None = None


class Closed(_Kept):
    """An approval that counts no more: used, expired, or of another policy."""

    kind: Literal["closed"] = "closed"
    id: str


class _Line(_Kept):
    line: Begun | Ended | Asked | Closed = Field(discriminator="kind")


@dataclass(slots=True)
class Left:
    """Remains of a journal: calls without an end, and approvals that count."""

    calls: dict[str, Begun] = field(default_factory=dict)
    approvals: dict[str, Asked] = field(default_factory=dict)

    def take(self, line: Begun | Ended | Asked | Closed) -> None:
        """Follow one line."""
        if isinstance(line, Begun):
            self.calls[line.id] = line
        elif isinstance(line, Ended):
            self.calls.pop(line.id, None)
        elif isinstance(line, Asked):
            self.approvals[line.id] = line
        else:
            self.approvals.pop(line.id, None)


def read_journal(data: bytes, where: str) -> Left:
    """Read a journal; a last line without its end was not written, and does not count.

    Raises:
        BadInputError: another line cannot be read.
    """
    left = Left()
    for number, text in enumerate(whole_lines(data).lines, 1):
        try:
            left.take(_Line.model_validate({"line": json.loads(text)}).line)
        except (ValueError, ValidationError) as error:
            raise BadInputError(
                "a line of the journal of calls cannot be read",
                where=f"{where}:{number}",
                hint="look which calls it tells of, then move the file away",
            ) from error
    return left


class Journal:
    """Journal in a file that this process alone writes."""

    def __init__(self, path: Path) -> None:
        """Read what a predecessor left, and begin anew with it.

        Raises:
            BadInputError: it cannot be read.
            PrerequisiteError: the place cannot be read or written.
        """
        self._path = path
        data = read_bounded(path, most=MAX_BYTES, private=True) if path.exists() else b""
        self.left = read_journal(data, str(path))
        self._now = Left(dict(self.left.calls), dict(self.left.approvals))
        self._descriptor = -1
        self._size = 0
        self._rewrite()

    def add(self, line: Begun | Ended | Asked | Closed, *, durable: bool = False) -> None:
        """Append a line; a `durable` one is on disk before this returns.

        Raises:
            OSError: it could not be written: what it tells of must not happen.
        """
        self._size += append_line(self._descriptor, _encoded(line), durable=durable)
        self._now.take(line)
        if self._size > _REWRITE_BYTES:
            self._rewrite()

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _rewrite(self) -> None:
        kept: Iterable[Begun | Asked] = (*self._now.calls.values(), *self._now.approvals.values())
        data = b"".join(_encoded(line) + b"\n" for line in kept)
        write_atomically(self._path, data, mode=0o600)
        self.close()
        self._descriptor = os.open(
            self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        )
        self._size = len(data)


def _encoded(line: Begun | Ended | Asked | Closed) -> bytes:
    told: Mapping[str, Any] = line.model_dump(exclude_none=True)
    return json.dumps(told).encode()
