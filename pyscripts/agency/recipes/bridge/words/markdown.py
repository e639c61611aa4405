"""Text of others as a comment may hold it: no mention, link, quick action or markup. Pure."""

from __future__ import annotations

import re

_RUNS = re.compile(r"`+")
_CUT = "…"


def fenced(text: str, most: int) -> str:
    """Put text into a block of code that it cannot leave; forges look for nothing in one."""
    kept = "\n".join(_printable(line) for line in text.splitlines()).strip("\n")
    kept = _cut(kept, most)
    fence = "`" * max(3, 1 + max((len(run) for run in _RUNS.findall(kept)), default=0))
    return f"{fence}text\n{kept}\n{fence}"


def code(text: str, most: int) -> str:
    """Put a name into a span of code, also within a cell of a table."""
    kept = _cut(_printable(" ".join(text.split())), most)
    safe = kept.replace("`", "'").replace("|", "/") or "-"
    return f"`{safe}`"


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else " " for each in text)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + _CUT
