"""Wording of alerts for the control room: one line each, of text that is only text.

An alert's words come from labels, which whoever exposes numbers chooses. They mention nobody, hold
no markup and no further line, and no secret that the control plane knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from agency.control.alerts.delivery import Alert
from agency.control.execution.replies import printable

MAX_LINES = 8
_MAX_WORD, _MAX_SUMMARY, _MAX_DESCRIPTION = 80, 160, 240
_SPACES = re.compile(r"\s+")
# Clients read these as the whole room, or as a person. A unit's name, a@b.service, is neither.
_MENTION = re.compile(r"@(?=room\b)|(?<![\w.\-])@(?=\w)", re.IGNORECASE)
_BRACKETS = str.maketrans("<>", "\u2039\u203a")  # alike to read, and no markup to any client
_LEVELS = ("critical", "warning", "info")


@dataclass(frozen=True, slots=True)
class News:
    """An alert to tell; `again` says that it was told before, long ago, and still fires."""

    alert: Alert
    again: bool = False


def clean(text: str, most: int, redact: Callable[[str], str]) -> str:
    """Return one line of plain text, without secrets and mentions, of at most `most` characters."""
    line = _SPACES.sub(" ", redact(text)).strip()
    line = printable(_MENTION.sub("@ ", line.translate(_BRACKETS)))
    return line if len(line) <= most else line[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def headline(alert: Alert, redact: Callable[[str], str]) -> str:
    """Return the name of an alert."""
    return clean(alert.name, _MAX_WORD, redact) or "unnamed alert"


def tell(news: Sequence[News], left_out: int, redact: Callable[[str], str]) -> str:
    """Return the text of a message about the news of one group, what fires first."""
    ordered = sorted(news, key=lambda each: not each.alert.firing)
    lines = [_line(each, redact) for each in ordered[:MAX_LINES]]
    more = len(ordered) - MAX_LINES if len(ordered) > MAX_LINES else 0
    if more + left_out:
        lines.append(f"and {more + left_out} more: `amtool alert` on the machine lists them")
    return "\n".join(lines)


def _line(news: News, redact: Callable[[str], str]) -> str:
    alert = news.alert
    head = f"{headline(alert, redact)}: {clean(alert.summary, _MAX_SUMMARY, redact)}".rstrip(": ")
    if not alert.firing:
        return f"Over: {head} (it began {_moment(alert.started)})"
    level = alert.severity if alert.severity in _LEVELS else "alert"
    said = f"{'Still ' if news.again else ''}{level}: {head}"
    said = said[0].upper() + said[1:]
    description = clean(alert.description, _MAX_DESCRIPTION, redact)
    since = f"since {_moment(alert.started)}"
    return f"{said}. {description} ({since})" if description else f"{said} ({since})"


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
