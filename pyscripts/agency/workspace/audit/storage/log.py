"""One agent's log: appending records, closing a full file, repairing after a crash.

A record counts once it is on disk. A power cut may follow any step of a rotation: opening the log
again finishes the rotation.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Mapping
from typing import Any

from agency.canonical import sha256_hex
from agency.chain import Head
from agency.clock import Clock
from agency.errors import AgencyError, BadInputError, PrerequisiteError
from agency.workspace.audit import record
from agency.workspace.audit.bounds import Bounds
from agency.workspace.audit.record import Record, Sender
from agency.workspace.audit.storage import flags, place
from agency.workspace.audit.storage.place import Place
from agency.workspace.audit.storage.tail import read_first, read_tail

_MODE = 0o640  # of the directory's owner and group; agents are in neither


class LogFullError(PrerequisiteError):
    """A lack of room, on the disk or within an agent's limit."""


class AgentLog:
    """Open log of one agent. Only one process may have it open."""

    def __init__(self, directory: Place, agent: str, clock: Clock, bounds: Bounds) -> None:
        """Open the log, or begin a new one; repair it after a crash.

        Raises:
            AgencyError: it cannot be opened, repaired or written.
        """
        self.agent = agent
        self.protection = flags.Protection(False, "no file is open")
        self._place = directory
        self._clock = clock
        self._bounds = bounds
        self._own = Sender(os.geteuid(), os.getpid())
        self._descriptor = -1
        self._size = 0  # of whole records; what is beyond is not part of the log
        self._dirty = False  # there may be something beyond
        self._first: Record | None = None  # the first record of the current file
        self._kept = 0  # bytes of closed files
        self._head = record.genesis(agent)
        self._last: Record | None = None  # the last record of the current file
        try:
            self._mend()
        except OSError as error:
            self.close()
            raise self._failure(error) from error
        except AgencyError:
            self.close()
            raise

    @property
    def head(self) -> Head:
        """End of the chain."""
        return self._head

    def close(self) -> None:
        """Close the file; the log can be opened again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def append(self, sender: Sender, event: str, detail: Mapping[str, Any]) -> Head:
        """Put an agent's event on record; it is on disk when this returns.

        Raises:
            LogFullError: the disk, or the agent's limit, is full.
            PrerequisiteError: it cannot be written.
        """
        try:
            self._refuse_when_full()
            if self._size >= self._bounds.file_bytes:
                self._rotate("size")
            elif self._is_of_another_day():
                self._rotate("day")
            self._write(sender, event, detail)
        except OSError as error:
            raise self._failure(error) from error
        return self._head

    def note(self, event: str, detail: Mapping[str, Any]) -> Head:
        """Put an event of the service itself on record; raises as `append`."""
        try:
            self._write(self._own, event, detail)
        except OSError as error:
            raise self._failure(error) from error
        return self._head

    def rotate_if_old(self) -> None:
        """Close a file of an earlier day that holds more than the service's own records.

        Without this, the records of an agent that fell silent would be kept for ever.
        """
        try:
            if self._is_of_another_day():
                self._rotate("day")
        except OSError as error:
            raise self._failure(error) from error

    def forget(self, size: int) -> None:
        """Subtract the size of a removed file."""
        self._kept = max(0, self._kept - size)

    # What a crash may have left, in the order in which it is put right.

    def _mend(self) -> None:
        files = place.files_of(self.agent, self._place.names())
        for closed in files.closed:
            self._adopt_closed(closed.name)
        if files.current:
            self._adopt_current()
        goes_on = self._size > 0 and not self._is_closed()
        self._ensure_begun()
        self._declare_aside()
        if goes_on:
            self._put(self._own, record.OPENED, self.protection.as_detail())

    def _adopt_closed(self, name: str) -> None:
        descriptor = self._place.open(name)
        try:
            flags.protect(descriptor, flags.APPEND | flags.IMMUTABLE)
            tail = read_tail(descriptor, self.agent)
            self._kept += tail.size
            if tail.record is not None:
                self._head = Head(tail.record.sequence, tail.record.hash)
        finally:
            os.close(descriptor)

    def _adopt_current(self) -> None:
        self._open_current(os.O_RDWR | os.O_APPEND)
        tail = read_tail(self._descriptor, self.agent)
        if tail.size > tail.whole:
            self._put_aside(tail.whole, tail.size)
        self._size = tail.whole
        if tail.record is not None:
            self._head = Head(tail.record.sequence, tail.record.hash)
            self._last = tail.record
            self._first = read_first(self._descriptor, self.agent)

    def _put_aside(self, whole: int, size: int) -> None:
        """Copy the bytes after the last whole record to a file of their own, then cut them off."""
        left = os.pread(self._descriptor, size - whole, whole)
        name = place.pending_name(self.agent, sha256_hex(left))
        if self._place.exists(name):  # half of it, perhaps, by a crash
            self._place.unlink(name)
        copy = self._place.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            os.fchmod(copy, _MODE)
            _write_all(copy, left)
            os.fsync(copy)
        finally:
            os.close(copy)
        self._place.sync()
        self._cut(whole)

    def _declare_aside(self) -> None:
        for name in place.files_of(self.agent, self._place.names()).pending:
            descriptor = self._place.open(name)
            try:
                left = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
            finally:
                os.close(descriptor)
            kept = place.aside_name(self.agent, self._head.sequence + 1)
            detail = {
                "file": kept,
                "bytes": len(left),
                "lines": left.count(b"\n"),
                "sha256": sha256_hex(left),
            }
            said = self._last
            if said and said.event == record.TORN and said.detail["sha256"] == detail["sha256"]:
                kept = str(said.detail["file"])  # it was on record, and a crash came before this
            else:
                self._put(self._own, record.TORN, detail)
            self._place.rename(name, kept)
            self._place.sync()

    # One file after the other.

    def _is_closed(self) -> bool:
        return self._last is not None and self._last.event == record.CLOSED

    def _is_of_another_day(self) -> bool:
        """Return whether the file began on another day and holds more than its first record."""
        if self._last is None:
            return False
        if self._first is None:  # its first line is no record any more
            return True
        alone = self._first.sequence == self._last.sequence
        return not alone and self._first.at[:10] != self._clock.now_iso()[:10]

    def _ensure_begun(self) -> None:
        """Ensure that a file can be appended to, after any earlier failure or crash."""
        if self._is_closed():
            self._finish_rotation()
        if self._descriptor < 0:
            create = os.O_CREAT | os.O_EXCL
            self._open_current(os.O_RDWR | os.O_APPEND | create)
            self._place.sync()
            self._size = 0
        if self._size == 0:
            self._put(self._own, record.BEGUN, self.protection.as_detail())

    def _open_current(self, how: int) -> None:
        name = place.current_name(self.agent)
        self._descriptor = self._place.open(name, how)
        status = os.fstat(self._descriptor)
        if (
            not stat.S_ISREG(status.st_mode)
            or status.st_uid != os.geteuid()
            or status.st_nlink != 1
        ):
            raise BadInputError(
                "not a file that this service made",
                where=self._place.where(name),
                hint="move it away; the log begins a new one",
            )
        if stat.S_IMODE(status.st_mode) != _MODE:
            with flags.unprotected(self._descriptor):
                os.fchmod(self._descriptor, _MODE)
        self.protection = flags.protect(self._descriptor, flags.APPEND)

    def _rotate(self, reason: str) -> None:
        if not self._is_closed():
            self._put(self._own, record.CLOSED, {"reason": reason})
        self._ensure_begun()

    def _finish_rotation(self) -> None:
        current = place.current_name(self.agent)
        closed = place.closed_name(self.agent, self._first_sequence(), self._head.sequence)
        with flags.unprotected(self._descriptor):
            self._place.rename(current, closed)
            self._place.sync()
        flags.protect(self._descriptor, flags.APPEND | flags.IMMUTABLE)
        self.close()
        self._kept += self._size
        self._size = 0
        self._first = self._last = None

    def _first_sequence(self) -> int:
        if self._first is not None:
            return self._first.sequence
        closed = place.files_of(self.agent, self._place.names()).closed
        return closed[-1].last + 1 if closed else 1

    # Writing.

    def _refuse_when_full(self) -> None:
        if self._kept + self._size >= self._bounds.agent_bytes:
            raise LogFullError(
                f"this agent's log holds {self._bounds.agent_bytes} bytes and takes no more",
                where=str(self._place.path),
                hint="ask an operator; files past their retention are removed",
            )
        if self._bounds.free_bytes:
            room = os.statvfs(self._place.descriptor)
            if room.f_bavail * room.f_frsize < self._bounds.free_bytes:
                raise self._no_space()

    def _write(self, sender: Sender, event: str, detail: Mapping[str, Any]) -> None:
        self._ensure_begun()
        self._put(sender, event, detail)

    def _put(self, sender: Sender, event: str, detail: Mapping[str, Any]) -> None:
        made = record.next_record(
            self._head, self.agent, self._clock.now_iso(), sender, event, detail
        )
        line = made.line()
        if self._dirty:
            self._cut(self._size)
        self._dirty = True
        try:
            _write_all(self._descriptor, line)
            os.fsync(self._descriptor)
        except OSError:
            # Nothing half-written counts. Where cutting fails too, the next write tries again.
            with contextlib.suppress(OSError):
                self._cut(self._size)
            raise
        self._dirty = False
        if self._size == 0:
            self._first = made
        self._size += len(line)
        self._head = Head(made.sequence, made.hash)
        self._last = made

    def _cut(self, size: int) -> None:
        with flags.unprotected(self._descriptor):
            os.ftruncate(self._descriptor, size)
            os.fsync(self._descriptor)
        self._dirty = False

    def _no_space(self) -> LogFullError:
        return LogFullError(
            "the disk is full: the event is not on record",
            where=str(self._place.path),
            hint="make room on the disk of the log",
        )

    def _failure(self, error: OSError) -> AgencyError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return self._no_space()
        return PrerequisiteError(
            f"cannot write: {error.strerror or error}",
            where=self._place.where(place.current_name(self.agent)),
            hint="see the journal of agency-audit.service",
        )


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
