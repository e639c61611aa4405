"""Journals of JSON lines: a line is appended whole or not at all, and a torn last one left out.

append ─▶ the whole line ─▶ on disk ─▶ returns     read ─▶ whole lines │ the torn end
   └─ any failure: the file is as it was, OSError
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Whole:
    """Whole lines of a journal, without their ends; `size` is how many bytes of it they are."""

    lines: tuple[bytes, ...]
    size: int


def whole_lines(data: bytes) -> Whole:
    """Return the lines of a journal; a last one without its end was cut off by a crash. Pure."""
    size = data.rfind(b"\n") + 1
    return Whole(tuple(data[:size].split(b"\n")[:-1]), size)


def append_line(descriptor: int, text: bytes, *, durable: bool = True) -> int:
    """Append a line to a file that is open for appending; return the number of bytes.

    A `durable` one is on disk when this returns. One process at a time appends to a file.

    Raises:
        OSError: it could not be written: what it tells of must not happen.
        ValueError: it is more than one line.
    """
    if b"\n" in text:
        raise ValueError("a line of a journal has no end of a line in it")
    line = text + b"\n"
    before = os.fstat(descriptor).st_size
    try:
        _write_whole(descriptor, line)
        if durable:
            os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, before)
        raise
    return len(line)


def _write_whole(descriptor: int, line: bytes) -> None:
    if os.write(descriptor, line) != len(line):  # as on a full disk
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
