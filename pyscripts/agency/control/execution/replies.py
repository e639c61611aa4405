"""What the control plane says, and how a Matrix client is told that it answers a command.

Source: Matrix specification 1.11, "Threading", "Rich replies", "User and room mentions".
"""

from __future__ import annotations

import html
import unicodedata
from dataclasses import dataclass
from typing import Any

from agency.control.events import REPLY_KEY, IncomingEvent
from agency.control.store.outbox import Message, transaction_id

_MAX_CHARACTERS = 6000  # with every character escaped, still less than an event may hold
_CUT = "\n[cut]"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: `ok` says whether what was asked was done; `block` is set in fixed width."""

    ok: bool
    text: str
    block: str = ""


def printable(text: str) -> str:
    """`text` with every character that cannot be seen, or that moves others, spelled out."""
    return "".join(
        character
        if character == "\n" or unicodedata.category(character)[0] != "C"
        else f"\\u{{{ord(character):x}}}"
        for character in text
    )


def reply_message(
    reply: Reply, event: IncomingEvent, *, as_user: str, trace: str, index: int = 0
) -> Message:
    """The message that answers an event, in its thread."""
    text = _bounded(printable(reply.text))
    block = _bounded(printable(reply.block))
    formatted = "<br>".join(html.escape(line) for line in text.split("\n"))
    if block:
        formatted += f"<pre><code>{html.escape(block)}\n</code></pre>"
    content: dict[str, Any] = {
        "msgtype": "m.notice",
        "body": f"{text}\n\n{block}" if block else text,
        "format": "org.matrix.custom.html",
        "formatted_body": formatted,
        "m.mentions": {},  # whatever the text says, nobody is called
        "m.relates_to": {
            "rel_type": "m.thread",
            "event_id": event.thread or event.replaces or event.event_id,
            "is_falling_back": True,
            "m.in_reply_to": {"event_id": event.event_id},
        },
        REPLY_KEY: {"command": event.event_id, "trace": trace, "ok": reply.ok, "final": True},
    }
    return Message(
        txn_id=transaction_id(event.event_id, index),
        room_id=event.room_id,
        as_user=as_user,
        content=content,
        trace=trace,
    )


def _bounded(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else text[:_MAX_CHARACTERS] + _CUT
