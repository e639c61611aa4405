"""Reader of `.env` files as abra reads them: a value may refer to those above it.

A recipe's `.env.sample` switches on optional compose files with lines such as
`COMPOSE_FILE="$COMPOSE_FILE:compose.postgres.yml"`. A comment after a secret's version holds
modifiers: `SECRET_DB_VERSION=v1  # length=32`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from agency.errors import BadInputError

MAX_LINES = 2_000
MAX_VALUE = 16 * 1024
_ASSIGNMENT = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)\Z")
_REFERENCE = re.compile(
    r"\\\$|\$(?:\{([A-Za-z_][A-Za-z0-9_]*)(?::?-([^}]*))?\}|([A-Za-z_][A-Za-z0-9_]*))"
)
_MODIFIER = re.compile(r"([a-z]+)=(\S+)")


@dataclass(frozen=True, slots=True)
class Variable:
    """One assignment; `modifiers` are the `key=value` pairs of the comment after it."""

    name: str
    value: str
    line: int
    modifiers: Mapping[str, str] = field(default_factory=dict)


def read_environment(text: str, file: str = ".env.sample") -> tuple[Variable, ...]:
    """Read the assignments in their order, each value with its references resolved.

    A reference to a name that is not set above is empty, as in abra.

    Raises:
        BadInputError: a line is no assignment, a quote is not closed, or it is too large.
    """
    lines = text.splitlines()
    if len(lines) > MAX_LINES:
        raise BadInputError(f"more than {MAX_LINES} lines", where=file)
    found: list[Variable] = []
    known: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _ASSIGNMENT.match(stripped)
        if match is None:
            raise BadInputError(
                "not an assignment", where=f"{file}:{number}", hint="write NAME=value"
            )
        value, comment = _value(match[2], known, f"{file}:{number}")
        known[match[1]] = value
        found.append(Variable(match[1], value, number, dict(_MODIFIER.findall(comment))))
    return tuple(found)


def values(variables: Iterable[Variable]) -> dict[str, str]:
    """Return the last value of each name."""
    return {variable.name: variable.value for variable in variables}


def with_values(text: str, wanted: Mapping[str, str]) -> str:
    """Set names in the text of a `.env` file where they are assigned, else at its end.

    In place, because lines below may refer to them.
    """
    left = dict(wanted)
    lines = []
    for line in text.splitlines():
        match = _ASSIGNMENT.match(line.strip())
        if match is not None and match[1] in wanted:
            left.pop(match[1], None)
            lines.append(f"{match[1]}={wanted[match[1]]}")
        else:
            lines.append(line)
    return "\n".join([*lines, *(f"{name}={value}" for name, value in left.items())]) + "\n"


def _value(raw: str, known: Mapping[str, str], where: str) -> tuple[str, str]:
    """Return the value and the comment of the right side of an assignment."""
    if raw[:1] in ("'", '"'):
        quote = raw[0]
        end = _closing(raw, quote)
        if end is None:
            raise BadInputError(
                "a quote is not closed on its line",
                where=where,
                hint="a value of several lines is not supported: close it, or use a secret",
            )
        inner, comment = raw[1:end], raw[end + 1 :].strip()
        if comment and not comment.startswith("#"):
            raise BadInputError("text after the closing quote", where=where)
        value = inner if quote == "'" else _expanded(inner, known).replace('\\"', '"')
    else:
        bare, _, comment = re.sub(r"(^|\s)#", r"\1\0", raw, count=1).partition("\0")
        value = _expanded(bare.strip(), known)
    if len(value) > MAX_VALUE:
        raise BadInputError(f"longer than {MAX_VALUE} characters", where=where)
    return value, comment


def _closing(raw: str, quote: str) -> int | None:
    at = 1
    while at < len(raw):
        if raw[at] == "\\" and quote == '"':
            at += 1
        elif raw[at] == quote:
            return at
        at += 1
    return None


def _expanded(text: str, known: Mapping[str, str]) -> str:
    def one(match: re.Match[str]) -> str:
        if match[0] == "\\$":
            return "$"
        return known.get(match[1] or match[3]) or match[2] or ""

    return _REFERENCE.sub(one, text)
