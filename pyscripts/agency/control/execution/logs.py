"""The lines of a log as a block of a reply: nothing in them is hidden, and nothing is markup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agency.control.execution.replies import printable

MAX_LINE = 500  # characters
MAX_BLOCK_BYTES = 12_000
_CUT = " [cut]"
# To whoever reads the plain body as Markdown, an indented line is code, whatever stands in it.
_INDENT = "    "
_TAB = "    "


@dataclass(frozen=True, slots=True)
class LogBlock:
    """What is shown, of how many lines it is, and whether older ones are left out."""

    text: str
    lines: int
    is_cut: bool = False


def log_block(lines: Sequence[str]) -> LogBlock:
    """The newest of these lines, oldest first, as many as fit into a reply.

    They must be without secrets before: a line may be cut here.
    """
    kept: list[str] = []
    size = 0
    for line in reversed(lines):
        text = _shown(line)
        size += len(text.encode()) + 1
        if size > MAX_BLOCK_BYTES:
            return _block(kept, is_cut=True)
        kept.append(text)
    return _block(kept)


def _block(newest_first: Sequence[str], *, is_cut: bool = False) -> LogBlock:
    return LogBlock("\n".join(reversed(newest_first)), len(newest_first), is_cut)


def _shown(line: str) -> str:
    text = printable(line[: MAX_LINE + 1].replace("\t", _TAB).replace("\n", " "))
    return _INDENT + (text if len(text) <= MAX_LINE else text[:MAX_LINE] + _CUT)
