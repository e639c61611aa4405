"""Keys that a person hands over: from a file, or from standard input; never by an argument."""

from __future__ import annotations

import sys
from pathlib import Path

from agency.errors import BadInputError, PrerequisiteError
from agency.secrets import MIN_LENGTH, SecretValue
from agency.settings import read_bounded

MAX_KEY = 16 * 1024
STDIN = Path("-")


def read_key(file: Path, what: str = "the key") -> SecretValue:
    """Read a key; the file `-` is standard input.

    Raises:
        PrerequisiteError: the file cannot be read, or others may read it.
        BadInputError: it holds no key that an HTTP header can carry.
    """
    if file == STDIN:
        content = sys.stdin.buffer.read(MAX_KEY + 1)
    else:
        content = read_bounded(file, most=MAX_KEY, what=what, private=True)
    where = "standard input" if file == STDIN else str(file)
    if len(content) > MAX_KEY:
        raise BadInputError(f"{what} is longer than {MAX_KEY} bytes", where=where)
    text = content.decode("ascii", errors="replace").strip()
    if not text:
        raise PrerequisiteError(f"{what} is empty", where=where)
    if not text.isascii() or not text.isprintable() or " " in text:
        raise BadInputError(f"{what} is not printable ASCII without spaces", where=where)
    if len(text) < MIN_LENGTH:
        raise BadInputError(f"{what} has fewer than {MIN_LENGTH} characters", where=where)
    return SecretValue(text)
