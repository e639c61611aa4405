"""The control plane's reply event: the fields of an answer, and how a reader recognises one.

Source: Matrix specification 1.11, "m.room.message", "Threading".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# In the content of an answer: which command it answers, and the result.
REPLY_KEY = "org.agency.reply"
# In the content of a message that answers no command: its trace, and what it is about.
NOTICE_KEY = "org.agency.notice"


@dataclass(frozen=True, slots=True)
class Reply:
    """Reply of the control plane to the command with the event id `command`."""

    command: str
    event_id: str
    sender: str
    body: str
    ok: bool
    trace: str


def as_reply(event: Mapping[str, Any], command: str, bot: str | None = None) -> Reply | None:
    """Read the final reply to a command; None for any other event.

    Any user may send a forged reply: a reader who knows the `bot` accepts its replies alone.
    """
    content, sender = event.get("content"), event.get("sender")
    if not isinstance(content, dict) or not isinstance(sender, str):
        return None
    relation, meta = _object(content, "m.relates_to"), _object(content, REPLY_KEY)
    if bot is not None and sender != bot:
        return None
    if relation.get("rel_type") != "m.thread" or relation.get("event_id") != command:
        return None
    if meta.get("command") != command or meta.get("final") is not True:
        return None
    return Reply(
        command=command,
        event_id=str(event.get("event_id", "")),
        sender=sender,
        body=str(content.get("body", "")),
        ok=meta.get("ok") is True,
        trace=str(meta.get("trace", "")),
    )


def _object(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = content.get(key)
    return value if isinstance(value, dict) else {}
