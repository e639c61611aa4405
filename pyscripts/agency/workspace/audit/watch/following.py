"""Following of an agent's log from the head that was kept, and from time to time as a whole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from agency.chain import Head, head_of, place_fault_of
from agency.workspace.audit.record import Record, genesis, parse_record
from agency.workspace.audit.storage.place import Place
from agency.workspace.audit.storage.tail import MAX_LINE
from agency.workspace.audit.verify import open_files, verify_agent
from agency.workspace.audit.watch.state import Watched
from agency.workspace.audit.watch.tallies import counted

WHOLE_S = 86_400.0  # a change of what was read before is found by then


class _BrokenError(Exception):
    """Break of a chain, with its place."""


def follow(place: Place, agent: str, before: Watched | None, now: float) -> Watched:
    """Read what is new in an agent's log since `before`, and check that it follows it.

    The whole log is verified at first sight, once a day, as long as it is broken, and where the
    file that was read last is gone. A broken log keeps the head and the counts that it had.

    Raises:
        PrerequisiteError: the files cannot be read.
    """
    with contextlib.ExitStack() as stack:
        _, opened = open_files(place, agent, stack)
        files = [_File(name, descriptor) for name, descriptor in opened.items()]
        start = before or _first(agent)
        known = any(file.inode == start.inode for file in files)
        if not known or start.broken is not None or now - start.whole_at >= WHOLE_S:
            report = verify_agent(place, agent, start.head if start.sequence else None)
            if report.broken is not None:
                found = report.broken
                return _broken(start, f"{found.file}:{found.line}: {found.reason}")
            start = start.model_copy(update={"broken": None, "whole_at": now})
        try:
            return _followed(files, agent, start)
        except _BrokenError as error:
            return _broken(start, str(error))


def gone(before: Watched) -> Watched:
    """Mark a log of which no file is left: records of the service's own always remain."""
    return _broken(before, "the log is gone")


def _first(agent: str) -> Watched:
    head = genesis(agent)
    return Watched(sequence=head.sequence, hash=head.hash)


def _broken(watched: Watched, why: str) -> Watched:
    return watched.model_copy(update={"broken": why})


class _File:
    """Open file of a log."""

    def __init__(self, name: str, descriptor: int) -> None:
        status = os.fstat(descriptor)
        self.name = name
        self.inode, self.size = status.st_ino, status.st_size
        self._descriptor = descriptor

    def records(self, offset: int) -> Iterator[tuple[Record, int]]:
        """Yield the records from an offset on, and where each ends."""
        with os.fdopen(os.dup(self._descriptor), "rb") as handle:
            handle.seek(offset)
            while line := handle.readline(MAX_LINE):
                if not line.endswith(b"\n") and len(line) < MAX_LINE:
                    return  # it is being written
                try:
                    record = parse_record(line)
                except ValueError as error:
                    raise _BrokenError(f"{self.name}: at byte {offset}: {error}") from None
                offset += len(line)
                yield record, offset


def _followed(files: list[_File], agent: str, watched: Watched) -> Watched:
    read = next((n for n, file in enumerate(files) if file.inode == watched.inode), None)
    if read is not None and files[read].size < watched.offset:
        raise _BrokenError(f"{files[read].name}: it was cut to less than was read of it")
    last = watched.sequence
    for number, file in enumerate(files[read or 0 :]):
        offset = watched.offset if read is not None and number == 0 else 0
        for record, end in file.records(offset):
            if read is None and record.sequence <= last:
                continue  # the whole was just verified, with the kept head in it
            after = _taken(watched, agent, file.name, record)
            watched = after.model_copy(update={"inode": file.inode, "offset": end})
    return watched


def _taken(watched: Watched, agent: str, name: str, record: Record) -> Watched:
    head = watched.head
    if head.sequence == 0 and record.sequence > 1:  # older files were removed before the first look
        head = Head(record.sequence - 1, record.previous)
    if record.agent != agent:
        raise _BrokenError(f"{name}: record {record.sequence} is another agent's")
    fault = place_fault_of(head, record)
    if fault is not None:
        raise _BrokenError(f"{name}: record {record.sequence}: {fault.value}")
    after = head_of(record)
    return watched.model_copy(
        update={
            "sequence": after.sequence,
            "hash": after.hash,
            "tally": counted(watched.tally, record),
        }
    )
