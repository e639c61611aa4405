"""Files of a recipe and of its tests: text, bounded, and never through a symbolic link."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from agency.errors import BadInputError
from agency.recipes.recipe.yaml_lines import MAX_BYTES

_MOST_LINKS = 40  # as Linux


def read_file(directory: Path, name: str, *, missing: str | None = None) -> str:
    """Read a text file of the recipe, never through a symbolic link.

    Raises:
        BadInputError: it is missing, a link, too large, or no UTF-8.
    """
    path = directory / name
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BadInputError("not a file", where=str(path))
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        if missing is not None:
            return missing
        raise BadInputError(
            f"no recipe is there: {name} is missing", where=str(directory)
        ) from error
    except OSError as error:
        raise BadInputError(f"cannot read: {error.strerror}", where=str(path)) from error
    if len(data) > MAX_BYTES:
        raise BadInputError(f"more than {MAX_BYTES} bytes", where=str(path))
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BadInputError("not UTF-8", where=str(path)) from error


def is_own_file(directory: Path, name: str) -> bool:
    """Return whether a path of the recipe is a regular file of it, on a way that never leaves it.

    Links are followed by their text, step by step: one through the host, such as /proc/self/cwd,
    could lead this program and abra to different files.
    """
    left, at, links = list(reversed(name.split("/"))), directory, 0
    if name.startswith("/"):
        return False
    while left:
        part = left.pop()
        if part in ("", "."):
            continue
        if part == "..":
            if at == directory:
                return False
            at = at.parent
            continue
        at = at / part
        try:
            target = str(at.readlink()) if at.is_symlink() else ""
        except (OSError, ValueError):
            return False
        links += bool(target)
        if target.startswith("/") or links > _MOST_LINKS:
            return False
        if target:
            at = at.parent
            left += reversed(target.split("/"))
    try:
        return stat.S_ISREG(at.lstat().st_mode)
    except (OSError, ValueError):
        return False
