"""Exports of `abra.sh`, which abra takes for variables of the app; nothing of it is executed.

abra reads lines, not the shell's language, and what it finds wins over the app's `.env`. So a line
counts here only in the form in which nobody can read it otherwise; any other is kept as unread,
for the policy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

FILE = "abra.sh"
_LINE = re.compile(r"(\s*)export(?:\s|\Z)")
_PLAIN = re.compile(r"export ([A-Za-z_][A-Za-z0-9_]*)=([A-Za-z0-9_][A-Za-z0-9._-]*)\Z")
_ASSIGNED = re.compile(r"(?<![\w${])([A-Za-z_][A-Za-z0-9_]*)=")


@dataclass(frozen=True, slots=True)
class Export:
    """One `export` line. Without a `value` it was not read, and `names` are what it may set.

    `indented` is true of one within a function, as recipes have them for commands in a container.
    """

    names: frozenset[str]
    value: str | None
    line: int
    indented: bool


def read_exports(text: str) -> tuple[Export, ...]:
    """Read the `export` lines; only a line feed ends a line, as for abra."""
    found = []
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.removesuffix("\r")
        begins = _LINE.match(line)
        if begins is None:
            continue
        plain = _PLAIN.match(line)
        names = frozenset([plain[1]]) if plain else frozenset(_ASSIGNED.findall(line))
        found.append(Export(names, plain[2] if plain else None, number, bool(begins[1])))
    return tuple(found)


def exported(exports: Iterable[Export]) -> dict[str, str]:
    """Return the last value of each name that was read."""
    return {name: one.value for one in exports if one.value is not None for name in one.names}
