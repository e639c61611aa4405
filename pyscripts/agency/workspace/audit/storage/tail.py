"""Both ends of a log file: its first record, and its last whole one."""

from __future__ import annotations

import os
from dataclasses import dataclass

from agency.errors import BadInputError
from agency.workspace.audit.record import Record, parse_record

_WINDOW = 64 * 1024
_MAX_WINDOW = 32 * 1024 * 1024
MAX_LINE = 16 * 1024  # no record is longer


@dataclass(frozen=True, slots=True)
class Tail:
    """Last whole record, its end, and the end of the file; both in bytes from the beginning."""

    record: Record | None
    whole: int
    size: int


def read_tail(descriptor: int, agent: str) -> Tail:
    """Find the last whole record of an agent's file, searching from the end.

    Raises:
        BadInputError: the last 32 MiB of a longer file hold no record.
    """
    size = os.fstat(descriptor).st_size
    window = _WINDOW
    while True:
        start = max(0, size - window)
        found = _last(_read(descriptor, start, size), start, agent)
        if found is not None:
            return Tail(found[0], found[1], size)
        if start == 0:
            return Tail(None, 0, size)
        if window >= _MAX_WINDOW:
            raise BadInputError("no record in the last 32 MiB", hint="look at the file by hand")
        window *= 8


def read_first(descriptor: int, agent: str) -> Record | None:
    """Read the first record of an agent's file, if its first line is one."""
    line, newline, _ = _read(descriptor, 0, MAX_LINE).partition(b"\n")
    return _parsed(line + newline, agent)


def _last(data: bytes, start: int, agent: str) -> tuple[Record, int] | None:
    end = data.rfind(b"\n") + 1
    while end > 0:
        begin = data.rfind(b"\n", 0, end - 1) + 1
        if begin == 0 and start > 0:  # its beginning is outside the window
            return None
        record = _parsed(data[begin:end], agent)
        if record is not None:
            return record, start + end
        end = begin
    return None


def _parsed(line: bytes, agent: str) -> Record | None:
    try:
        record = parse_record(line)
    except ValueError:
        return None
    return record if record.agent == agent else None


def _read(descriptor: int, start: int, end: int) -> bytes:
    parts = []
    while start < end and (part := os.pread(descriptor, end - start, start)):
        parts.append(part)
        start += len(part)
    return b"".join(parts)
