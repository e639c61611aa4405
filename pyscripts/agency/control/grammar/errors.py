"""Errors of a command's text: the place, the fault, and the likely correction."""

from __future__ import annotations

import unicodedata
from enum import StrEnum
from typing import ClassVar

from agency.control.grammar.characters import escape
from agency.errors import AgencyError, ExitCode

_WIDTH = 76  # columns of the picture
_BEFORE = 30  # of them, kept before the marked span
_ELLIPSIS = "..."
_MAX_SHOWN = 40


class Reason(StrEnum):
    """Reason why a text is not a command; stable, for logs and tests."""

    TOO_LONG = "too-long"
    CHARACTER = "character"
    EMPTY = "empty"
    UNKNOWN_COMMAND = "unknown-command"
    MISSING_COMMAND = "missing-command"
    UNCLOSED_QUOTE = "unclosed-quote"
    UNKNOWN_ESCAPE = "unknown-escape"
    UNKNOWN_FLAG = "unknown-flag"
    REPEATED_FLAG = "repeated-flag"
    MISSING_VALUE = "missing-value"
    TOO_MANY_WORDS = "too-many-words"
    MISSING_ARGUMENT = "missing-argument"
    BAD_VALUE = "bad-value"


class CommandError(AgencyError):
    """Error at text[start:end]; an empty span marks a place where a part is missing.

    `suggestion` is a correction of the span. `text` is empty if it must not be shown again.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.USAGE

    def __init__(
        self,
        message: str,
        *,
        reason: Reason,
        text: str,
        start: int,
        end: int,
        suggestion: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=advice(suggestion, hint))
        self.reason = reason
        self.text = text
        self.start = start
        self.end = end
        self.suggestion = suggestion

    def pointer(self) -> str:
        """Return two lines for a fixed-width block: the command, and carets under the fault.

        Empty if there is no text to show. No character in it is hidden or moves others.
        """
        return picture(self.text, self.start, self.end) if self.text else ""

    def as_dict(self) -> dict[str, object]:
        """Return the error as `--json` prints it."""
        return {
            **super().as_dict(),
            "reason": str(self.reason),
            "start": self.start,
            "end": self.end,
            "suggestion": self.suggestion,
        }


def advice(suggestion: str | None, hint: str | None) -> str | None:
    """Combine suggestion and hint into one hint."""
    meant = f'did you mean "{suggestion}"?' if suggestion is not None else None
    return "; ".join(part for part in (meant, hint) if part) or None


def shown(text: str) -> str:
    """Quote `text` for a message: hidden characters are spelled out, and long text is cut."""
    cut = text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + _ELLIPSIS
    return f'"{escape(cut)}"'


def picture(text: str, start: int, end: int) -> str:
    """Return the part of `text` around text[start:end], and carets under that span."""
    first, room = start, _BEFORE
    while first > 0 and (room := room - _columns(text[first - 1])) >= 0:
        first -= 1
    before = (_ELLIPSIS if first else "") + escape(text[first:start])
    room = _WIDTH - _columns(before) - len(_ELLIPSIS)
    last = start
    while last < len(text) and (room := room - _columns(text[last])) >= 0:
        last += 1
    span = escape(text[start : min(end, last)])
    after = escape(text[min(end, last) : last]) + (_ELLIPSIS if last < len(text) else "")
    carets = "^" * max(1, _columns(span))
    return f"{before}{span}{after}\n{' ' * _columns(before)}{carets}"


def _columns(text: str) -> int:
    """Count the columns that `text` takes in a fixed-width block, once escaped."""
    return sum(_width(each) for each in escape(text))


def _width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
