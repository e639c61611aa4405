"""The content of a message: its text without what a client put before it, and what it shows.

Any user may choose any content: each part may be missing or of any type, and is read in linear
time. Source: Matrix specification 1.11, "Rich replies", "Fallbacks for rich replies" (removed in
1.13, and sent by clients all the same), "User and room mentions", "m.room.message msgtypes".
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

_MOST_MENTIONS = 100
_MOST_SHOWN = 8192
_USER = re.compile(r"@[!-~]{1,254}\Z")
_PILL = re.compile(r"https://matrix\.to/#/(@[^\"'?<>\s]{1,300}|%40[^\"'?<>\s]{1,300})")
_LAYOUT = re.compile(r"</?p>|<br ?/?>")
_NOTHING = "<p></p>"
_FALLBACK_END = "</mx-reply>"


def without_fallback(text: str) -> str:
    """Return a reply's text without the quotation of what it answers.

    The quotation is lines that begin with `>`, and an empty line. Without the empty line nothing is
    taken away: Markdown shows a line right after a quoted one as a part of the quotation.
    """
    start = 0
    while text.startswith(">", start):
        end = text.find("\n", start)
        if end < 0:
            return text
        start = end + 1
    line, line_break, after = text[start:].partition("\n")
    return after if start and line_break and not line.strip(" \t\r") else text


def mentioned(content: Mapping[str, Any]) -> tuple[str, ...]:
    """List the users whom a message mentions: in `m.mentions`, or by links as older clients do."""
    mentions, formatted = content.get("m.mentions"), content.get("formatted_body")
    listed = mentions.get("user_ids") if isinstance(mentions, dict) else None
    found: list[object] = listed[:_MOST_MENTIONS] if isinstance(listed, list) else []
    if isinstance(formatted, str):
        found = [*found, *(unquote(each) for each in _PILL.findall(formatted)[:_MOST_MENTIONS])]
    users = (each for each in found if isinstance(each, str) and _USER.match(each))
    return tuple(dict.fromkeys(users))


def shown_instead(content: Mapping[str, Any], text: str) -> str:
    """Return the formatted body if clients may show by it another text than `text`; else "".

    Every mark-up but paragraphs and line breaks counts: a spoiler hides, `<del>` strikes out.
    """
    formatted = content.get("formatted_body")
    if not isinstance(formatted, str) or not formatted:
        return ""
    end = formatted.find(_FALLBACK_END)
    if formatted.startswith("<mx-reply>") and end >= 0:
        formatted = formatted[end + len(_FALLBACK_END) :]
    same = html.unescape(_LAYOUT.sub("", formatted)).strip() == text.strip()
    return "" if same else formatted[:_MOST_SHOWN] or _NOTHING
