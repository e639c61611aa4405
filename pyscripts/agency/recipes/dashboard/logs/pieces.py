"""Pieces of a log file: a bounded part of it, cut where lines, characters and colours allow it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from agency.recipes.dashboard.files import RunFiles, log_path
from agency.recipes.dashboard.logs.ansi import Span, Style, plain, spans, whole

MOST_PIECE = 256 * 1024


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes of a log from `start` on; `inode` tells a replaced file from one that grew."""

    data: bytes
    start: int
    size: int
    inode: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a log for a page: from the byte `start` to the byte `end`, of `size`."""

    spans: tuple[Span, ...]
    start: int
    end: int
    size: int


def read_raw(files: RunFiles, log: str, start: int, most: int = MOST_PIECE) -> Raw:
    """Read at most `most` bytes of a log from a place on.

    Raises:
        NoFileError: there is no such log.
    """
    with files.open(log_path(log)) as (file, found):
        inode = os.fstat(file).st_ino
        data = os.pread(file, most, start) if start < found.size else b""
        return Raw(data, start, found.size, inode)


def tail(files: RunFiles, log: str, most: int, *, live: bool = False) -> Piece:
    """Read the last lines of a log.

    Raises:
        NoFileError: there is no such log.
    """
    size = read_raw(files, log, 0, 0).size
    return piece(files, log, max(0, size - most), most, live=live)


def piece(
    files: RunFiles, log: str, start: int, most: int = MOST_PIECE, *, live: bool = False
) -> Piece:
    """Read a part of a log, from the next beginning of a line on.

    Of a log that is `live`, half of a character or of a sequence at its end is left for later.

    Raises:
        NoFileError: there is no such log.
    """
    begin = max(0, start - 1)
    raw = read_raw(files, log, begin, most + start - begin)
    data = raw.data
    if start > 0:
        # A part that is one line has no beginning: it is shown from where it was asked for.
        cut = data.find(b"\n") + 1 or 1
        data, begin = data[cut:], begin + cut
    at_end = begin + len(data) >= raw.size
    length = _line_end(data) if not at_end else whole(data) if live else len(data)
    shown = tuple(spans(data[:length].decode(errors="replace"), Style()))
    return Piece(shown, begin, begin + length, raw.size)


def _line_end(data: bytes) -> int:
    """Return the length up to the last line's end; of a part without one, up to what is whole."""
    return data.rfind(b"\n") + 1 or whole(data) or len(data)


def plain_text(data: bytes) -> tuple[str, int]:
    """Return bytes as text that a terminal may be given, and how many of them it took."""
    length = whole(data) or len(data)
    return plain(data[:length].decode(errors="replace")), length
