"""Files of a checkout by relative paths: no link is followed, and nothing leads into `.git`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from agency import guarded
from agency.errors import BadInputError, UsageError
from agency.guarded import Kind, Owner

MAX_FILE = 512 * 1024
_MAX_PATH, _MAX_PARTS = 1000, 40
_MODE = 0o644


def parts_of(path: str) -> tuple[str, ...]:
    """Split a relative path.

    Raises:
        UsageError: it is none, leads out, or leads into git's own directory.
    """
    parts = tuple(path.split("/"))
    if not path.isprintable() or len(path) > _MAX_PATH or len(parts) > _MAX_PARTS:
        raise UsageError(
            "the path is no readable one", where=path[:60].encode("ascii", "replace").decode()
        )
    if any(part in {"", ".", ".."} for part in parts):
        raise UsageError("a path goes down from the repository, without dots", where=path[:60])
    # Also as file systems that know no case, or leave out trailing dots and spaces, read it.
    if any(part.casefold().rstrip(". ") in {".git", "git~1"} for part in parts):
        raise UsageError("git's own directory is not for reading or writing", where=path[:60])
    return parts


def read(place: Path, path: str) -> str:
    """Read a text.

    Raises:
        UsageError: the path is none. BadInputError: there is no text of this name.
    """
    parts = parts_of(path)
    with _opened(place, parts[:-1], make=False) as inside:
        if guarded.look(inside, parts[-1]).kind is not Kind.FILE:
            raise BadInputError("there is no such file", where=path)
        data = guarded.read(inside, parts[-1])
    if data is None or len(data) > MAX_FILE:
        raise BadInputError(f"it is larger than {MAX_FILE} bytes", where=path)
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise BadInputError("it is no text", where=path) from None


def write(place: Path, path: str, text: str) -> None:
    """Write a text in one step; a file keeps whether it may be run.

    Raises:
        UsageError: the path is none. BadInputError: something else is in its place.
    """
    parts, data = parts_of(path), text.encode(errors="replace")
    if len(data) > MAX_FILE:
        raise BadInputError(f"more than {MAX_FILE} bytes", where=path)
    with _opened(place, parts[:-1], make=True) as inside:
        seen = guarded.look(inside, parts[-1])
        if seen.kind not in {Kind.ABSENT, Kind.FILE}:
            raise BadInputError(f"{seen.kind.value} is in its place", where=path)
        mode = seen.mode & 0o777 if seen.kind is Kind.FILE else _MODE
        guarded.write(inside, parts[-1], data, Owner(os.geteuid(), os.getegid()), mode)


@contextmanager
def _opened(place: Path, parts: tuple[str, ...], *, make: bool) -> Iterator[int]:
    """Open a directory below the checkout, one step after the other; links are refused."""
    with ExitStack() as stack:
        descriptor = stack.enter_context(guarded.directory(place))
        for part in parts:
            if make and guarded.look(descriptor, part).kind is Kind.ABSENT:
                os.mkdir(part, 0o755, dir_fd=descriptor)
            descriptor = stack.enter_context(guarded.subdirectory(descriptor, part))
        yield descriptor
