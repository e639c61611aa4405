"""Verification of an agent's log, from its oldest kept record to the head, across all files.

It needs no service and trusts none: a copy of the directory verifies as the directory does.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from agency.canonical import sha256_hex
from agency.chain import Fault, Head, head_of, place_fault_of
from agency.errors import PrerequisiteError
from agency.workspace.audit import record
from agency.workspace.audit.record import Record, genesis, parse_record
from agency.workspace.audit.storage import place
from agency.workspace.audit.storage.place import Closed, Files, Place
from agency.workspace.audit.storage.tail import MAX_LINE

_TRIES = 5


@dataclass(frozen=True, slots=True)
class Broken:
    """Place where a chain breaks; `line` counts from 1, and is 0 for a whole file."""

    file: str
    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """Result of verifying one agent's log.

    `first` is the number of the oldest kept record, `count` the number of good records, `torn` how
    often a crash left bytes that were no record, `unfinished` the bytes after the last whole line.
    """

    agent: str
    ok: bool
    first: int
    count: int
    head: Head
    files: int
    torn: int
    unfinished: int
    broken: Broken | None

    def as_dict(self) -> dict[str, Any]:
        """Describe the report as `--json` prints it."""
        return asdict(self)


class _BrokenError(Exception):
    def __init__(self, file: str, line: int, reason: str) -> None:
        super().__init__(reason)
        self.broken = Broken(file, line, reason)


def verify_agent(directory: Place, agent: str, expected: Head | None = None) -> Report:
    """Verify one agent's log; with `expected`, the log must hold that record.

    Raises:
        PrerequisiteError: the files cannot be read.
    """
    with contextlib.ExitStack() as stack:
        files, opened = open_files(directory, agent, stack)
        chain = _Chain(agent, files, expected)
        broken = None
        try:
            for closed in files.closed:
                chain.follow(closed.name, opened[closed.name], closed)
            if files.current:
                name = place.current_name(agent)
                chain.follow(name, opened[name], None)
            chain.finish()
            _check_aside(directory, files, chain)
        except _BrokenError as error:
            broken = error.broken
    return Report(
        agent=agent,
        ok=broken is None,
        first=chain.first,
        count=chain.count,
        head=chain.head,
        files=len(opened),
        torn=len(chain.torn),
        unfinished=chain.unfinished,
        broken=broken,
    )


def open_files(
    directory: Place, agent: str, stack: contextlib.ExitStack
) -> tuple[Files, dict[str, int]]:
    """Open all files as they are at one moment; try again if a rotation comes in between."""
    for _ in range(_TRIES):
        before = place.files_of(agent, directory.names())
        names = [closed.name for closed in before.closed]
        names += [place.current_name(agent)] if before.current else []
        opened = {}
        try:
            for name in names:
                opened[name] = directory.open(name)
                stack.callback(os.close, opened[name])
        except FileNotFoundError:
            continue
        except OSError as error:
            raise place.cannot_read(directory.path, error) from error
        if place.files_of(agent, directory.names()) == before:
            return before, opened
    raise PrerequisiteError(
        "the files change faster than they can be opened", where=str(directory.path)
    )


class _Chain:
    """Chain as far as it was followed, and the gaps that a record must still explain."""

    def __init__(self, agent: str, files: Files, expected: Head | None) -> None:
        self.agent = agent
        self.head = genesis(agent)
        self.first = 0
        self.count = 0
        self.torn: dict[str, tuple[str, str, int]] = {}  # file put aside: digest, file, line
        self.removed: set[str] = set()
        self.unfinished = 0
        self._expected = expected
        self._last_file = files.closed[-1].name if files.closed else ""
        self._unexplained: tuple[Head, str] | None = None

    def follow(self, name: str, descriptor: int, closed: Closed | None) -> None:
        """Follow one file; `closed` holds the claims in the name of a closed file."""
        number, last, begin = 0, None, self.head.sequence + 1
        for number, line in enumerate(_lines(descriptor), 1):
            if not line.endswith(b"\n") and len(line) < MAX_LINE and closed is None:
                self.unfinished = len(line)
                break
            if last is not None and last.event == record.CLOSED:
                raise _BrokenError(name, number, "stands after the record that closed the file")
            last = self._link(name, number, line)
            if number == 1:
                begin = last.sequence
        if closed is None:
            return
        if last is None or last.event != record.CLOSED:
            raise _BrokenError(name, number, "the file ends without the record that closes it")
        if (closed.first, closed.last) != (begin, last.sequence):
            raise _BrokenError(name, 0, "the file's name is not that of its records")

    def _link(self, name: str, number: int, line: bytes) -> Record:
        try:
            found = parse_record(line)
        except ValueError as error:
            raise _BrokenError(name, number, str(error)) from None
        if found.agent != self.agent:
            raise _BrokenError(name, number, "is another agent's record")
        if self.count == 0 and found.sequence > 1:
            self.head = Head(found.sequence - 1, found.previous)
            self._unexplained = (self.head, name)
        fault = place_fault_of(self.head, found)
        if fault in (Fault.MISSING, Fault.REPEATED):
            wanted = self.head.sequence + 1
            raise _BrokenError(name, number, f"is record {found.sequence}, not {wanted}")
        if fault is not None:
            raise _BrokenError(name, number, f"does not follow record {self.head.sequence}")
        self.first = self.first or found.sequence
        self.head = head_of(found)
        self.count += 1
        self._note(name, number, found)
        if self._expected and self._expected.sequence == found.sequence:
            if self._expected.hash != found.hash:
                raise _BrokenError(name, number, "is not the record that the given head names")
            self._expected = None
        return found

    def _note(self, name: str, number: int, found: Record) -> None:
        detail = found.detail
        if found.event == record.TORN:
            self.torn[str(detail.get("file"))] = (str(detail.get("sha256")), name, number)
        elif found.event == record.REMOVED:
            self.removed.add(str(detail.get("file")))
            if self._unexplained is not None:
                gone = self._unexplained[0]
                if (detail.get("last"), detail.get("hash")) == (gone.sequence, gone.hash):
                    self._unexplained = None

    def finish(self) -> None:
        """Check the whole: the expected head was found, and a missing beginning is explained."""
        name = self._last_file or place.current_name(self.agent)
        if self._unexplained is not None:
            head, file = self._unexplained
            reason = f"records before {head.sequence + 1} are gone, and no record says why"
            raise _BrokenError(file, 1, reason)
        if self._expected is not None:
            reason = (
                f"the log holds no record {self._expected.sequence}, which the given head names"
            )
            raise _BrokenError(name, 0, reason)


def _check_aside(directory: Place, files: Files, chain: _Chain) -> None:
    """Check that every file put aside is unchanged and there, unless its removal is on record."""
    for aside, (digest, file, line) in chain.torn.items():
        if aside in chain.removed:
            continue
        if aside not in files.aside:
            raise _BrokenError(file, line, f"names {aside}, which is gone")
        descriptor = directory.open(aside)
        try:
            data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        finally:
            os.close(descriptor)
        if sha256_hex(data) != digest:
            raise _BrokenError(aside, 0, "was changed since it was put aside")


def _lines(descriptor: int) -> Iterator[bytes]:
    with os.fdopen(os.dup(descriptor), "rb") as handle:
        while line := handle.readline(MAX_LINE):
            yield line
