"""Files of a recipe and of its tests: text, bounded, and never through a symbolic link."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from agency.errors import BadInputError
from agency.recipes.recipe.yaml_lines import MAX_BYTES


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
