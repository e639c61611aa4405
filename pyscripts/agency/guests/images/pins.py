"""Pinned requirements as data. pip would do whatever stands in a requirements file: options there
turn source packages on again, and URLs name code to build. So pip gets a file of ours, in which
nothing stands but names, versions and hashes.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from agency.canonical import sha256_hex
from agency.errors import BadInputError, PrerequisiteError
from agency.guarded import DIRECTORY_FLAGS

MAX_BYTES = 4 * 1024 * 1024

_ENTRY = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*==[0-9A-Za-z][0-9A-Za-z.!+_-]*(?: --hash=sha256:[0-9a-f]{64})+"
)
_SHOWN = 80
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Pins:
    """`text` has one `name==version --hash=sha256:...` a line; `digest` is that of the file."""

    text: str
    digest: str


def read_pins(path: Path) -> Pins:
    """Read requirements once; neither the file nor its directory may be a link.

    Raises:
        PrerequisiteError: the file cannot be read.
        BadInputError: anything stands there but pinned and hashed requirements.
    """
    try:
        content = _content(path)
    except OSError as error:
        raise PrerequisiteError(
            f"cannot be read: {error.strerror}",
            where=str(path),
            hint="run this from a checkout, which pins what it needs there",
        ) from error
    if len(content) > MAX_BYTES:
        raise BadInputError(f"larger than {MAX_BYTES} bytes", where=str(path))
    return Pins(normalised(content.decode(errors="replace"), str(path)), sha256_hex(content))


def _content(path: Path) -> bytes:
    """At most one byte more than allowed."""
    parent = os.open(path.parent, DIRECTORY_FLAGS)
    try:
        with os.fdopen(os.open(path.name, _FILE, dir_fd=parent), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BadInputError("not a regular file", where=str(path))
            return file.read(MAX_BYTES + 1)
    finally:
        os.close(parent)


def normalised(text: str, where: str) -> str:
    """List the requirements of a text, one a line.

    Raises:
        BadInputError: a line is neither a comment nor a pinned and hashed requirement.
    """
    entries: list[str] = []
    parts: list[str] = []
    began = 1
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        part = line.strip()
        if not parts:
            began = number
        if part and not part.startswith("#"):
            parts.extend(part.removesuffix("\\").split())
        if parts and not part.endswith("\\"):
            entries.append(_checked(" ".join(parts), f"{where}:{began}"))
            parts = []
    return "".join(f"{entry}\n" for entry in entries)


def _checked(entry: str, where: str) -> str:
    if _ENTRY.fullmatch(entry) is None:
        raise BadInputError(
            f"not a pinned and hashed requirement: {entry[:_SHOWN]!r}",
            where=where,
            hint="each line is NAME==VERSION --hash=sha256:...; pip takes no options from here",
        )
    return entry
