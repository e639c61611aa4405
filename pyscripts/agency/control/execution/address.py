"""Mentions of the bot before a text: `agency: ...`, `@agency:agency.example ...`, or a link.

Clients put into a message's body the name or the id of whom a person picked from a list, and some a
Markdown link.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from agency.control.events import IncomingEvent
from agency.control.grammar.typography import WHITE

_LINK = re.compile(r"\[[^\[\]\n]{1,255}\]\(https://matrix\.to/#/([^()\s]{1,300})\)")
_AFTER = re.compile(r"[:,]?(?=\s|\Z)|[:,](?=[!/])")


def without_mention(text: str, bot_id: str) -> str:
    """Return what a text says to the bot: `text` without the mention of it at the beginning."""
    rest = _rest(text, bot_id)
    return text if rest is None else rest


def speaks_to(event: IncomingEvent, bot_id: str) -> bool:
    """Return whether a message begins with a mention of the bot that its client marked as one.

    A mention later in the text is talk about the bot, and a word like its name is a word.
    """
    named = bot_id in event.mentions or _by_id(event.text.lstrip(WHITE), bot_id) is not None
    return named and _rest(event.text, bot_id) is not None


def _rest(text: str, bot_id: str) -> str | None:
    head = text.lstrip(WHITE)
    end = _by_id(head, bot_id) or _by_name(head, bot_id)
    after = None if end is None else _AFTER.match(head, end)
    return None if after is None else head[after.end() :].strip(WHITE)


def _by_id(head: str, bot_id: str) -> int | None:
    """Return the end of a mention by id or link."""
    if head.startswith(bot_id):
        return len(bot_id)
    link = _LINK.match(head)
    return link.end() if link is not None and unquote(link[1]) == bot_id else None


def _by_name(head: str, bot_id: str) -> int | None:
    """Return the end of the bot's name; phones write the first letter of a message large."""
    local = bot_id.partition(":")[0]
    for name in (local, local.removeprefix("@")):
        if head[: len(name)].casefold() == name.casefold():
            return len(name)
    return None
