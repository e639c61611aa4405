"""Lines of a log as a block of a reply: every character is visible, and none is markup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agency.control.execution.replies import printable

MAX_LINE = 500  # characters
MAX_BLOCK_BYTES = 12_000
_CUT = " [cut]"
# A reader that renders the plain body as Markdown shows an indented line as code.
_INDENT = "    "
_TAB = "    "


@dataclass(frozen=True, slots=True)
class LogBlock:
    """The text of a block, the number of its lines, and whether older lines are left out."""

    text: str
    lines: int
    is_cut: bool = False


def log_block(lines: Sequence[str]) -> LogBlock:
    """Make a block of the newest lines that fit into a reply, oldest first.

    Secrets must be removed before: a line may be cut here.
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
