"""Interpolation of variables in compose files, by the rules of `docker stack deploy`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from agency.errors import BadInputError

MAX_DEPTH = 8  # of defaults within defaults
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATORS = (":-", ":+", ":?", "-", "+", "?")


def interpolated(text: str, values: Mapping[str, str], where: str, depth: int = 0) -> str:
    """Replace `$NAME`, `${NAME}` and `${NAME:-default}` (also `-`, `+`, `?`); `$$` is a dollar.

    Raises:
        BadInputError: a reference is malformed, or a demanded variable is not set.
    """
    if depth > MAX_DEPTH:
        raise BadInputError("defaults nested too deeply", where=where)
    pieces: list[str] = []
    at = 0
    while (dollar := text.find("$", at)) >= 0:
        pieces.append(text[at:dollar])
        follows = text[dollar + 1 : dollar + 2]
        if follows == "$":
            pieces.append("$")
            at = dollar + 2
        elif follows == "{":
            end = _closing(text, dollar + 1, where)
            pieces.append(_braced(text[dollar + 2 : end], values, where, depth))
            at = end + 1
        else:
            match = _NAME.match(text, dollar + 1)
            if match is None:
                raise BadInputError("a lone $", where=where, hint="write $$ for a dollar sign")
            pieces.append(values.get(match[0], ""))
            at = match.end()
    pieces.append(text[at:])
    return "".join(pieces)


def _closing(text: str, opening: int, where: str) -> int:
    depth = 0
    for at in range(opening, len(text)):
        if text[at] == "{":
            depth += 1
        elif text[at] == "}":
            depth -= 1
            if depth == 0:
                return at
    raise BadInputError("${ is not closed", where=where)


def _braced(inner: str, values: Mapping[str, str], where: str, depth: int) -> str:
    match = _NAME.match(inner)
    if match is None:
        raise BadInputError(f"no name in ${{{inner[:40]}}}", where=where)
    name, rest = match[0], inner[match.end() :]
    value = values.get(name)
    if not rest:
        return value or ""
    operator = next((one for one in _OPERATORS if rest.startswith(one)), None)
    if operator is None:
        raise BadInputError(f"unknown form ${{{inner[:40]}}}", where=where)
    word = rest[len(operator) :]
    there = bool(value) if operator[0] == ":" else value is not None
    if operator[-1] == "+":
        return interpolated(word, values, where, depth + 1) if there else ""
    if there:
        return value or ""
    if operator[-1] == "?":
        raise BadInputError(f"{name} is demanded and not set: {word[:80]}", where=where)
    return interpolated(word, values, where, depth + 1)
