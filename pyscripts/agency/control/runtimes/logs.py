"""The end of an agent's log, bounded; in whole lines, because a cut one may hold half a secret."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from agency.control.runtimes.base import MAX_LOG_BYTES, MAX_LOG_LINES, AgentRuntimeError
from agency.control.runtimes.handover import cannot_write

_MAX_LOG_BYTES = 1024 * 1024  # a longer log is set aside at the next start


def last_lines(texts: Iterable[str], lines: int) -> tuple[str, ...]:
    """Return the last lines of some texts, within the bounds of `Runtime.log_tail`."""
    kept: list[str] = []
    size = 0
    every = [line for text in texts for line in text.splitlines()]
    for line in reversed(every[-min(lines, MAX_LOG_LINES) :]):
        size += len(line.encode(errors="replace")) + 1
        if size > MAX_LOG_BYTES:
            if not kept:
                kept.append(_too_long())
            break
        kept.append(line)
    return tuple(reversed(kept))


def file_tail(path: Path, lines: int) -> tuple[str, ...]:
    """Return the last lines of a file; empty if there is no file.

    Raises:
        AgentRuntimeError: the file cannot be read, or is not a regular file.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # its type is checked below
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise _unreadable(path, "not a regular file")
        start = max(0, found.st_size - MAX_LOG_BYTES)
        data = os.pread(descriptor, MAX_LOG_BYTES, start)
    finally:
        os.close(descriptor)
    if start:
        cut, _, data = data.partition(b"\n")
        if cut and not data:
            return (_too_long(),)
    return last_lines([data.decode(errors="replace")], lines)


def old_log(log: Path) -> Path:
    """Return the path of the log before this one."""
    return log.with_name(f"{log.name}.1")


def set_aside(log: Path) -> None:
    """Begin a new log if the old one is long.

    Raises:
        PrerequisiteError: it cannot be moved.
    """
    try:
        if log.stat().st_size > _MAX_LOG_BYTES:
            log.replace(old_log(log))
    except FileNotFoundError:
        pass
    except OSError as error:
        raise cannot_write(log.parent, error) from error


def _too_long() -> str:
    return f"[a line of more than {MAX_LOG_BYTES} bytes is left out]"


def _unreadable(path: Path, reason: str) -> AgentRuntimeError:
    return AgentRuntimeError(f"the log cannot be read: {reason}", where=str(path))
