"""Replies of the control plane, and the relations by which a Matrix client shows them in a thread.

Source: Matrix specification 1.11, "Threading", "Rich replies", "User and room mentions".
"""

from __future__ import annotations

import html
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agency.canonical import canonical_json
from agency.control.operation import Origin, OriginKind
from agency.control.store.outbox import Message, transaction_id
from agency.protocols import NOTICE_KEY, REPLY_KEY

# An event may have 65536 bytes, including its envelope and JSON's escapes.
_MAX_TEXT_BYTES = 4_000
_MAX_QUOTE_BYTES = 1_000
_MAX_BLOCK_BYTES = 16_000
_MAX_CONTENT_BYTES = 56_000
_CUT = "\n[cut]"


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply: `ok` says whether the command was done; `block` is shown in fixed width.

    A reply that is not `final` reports progress, and another follows it. `later` is kept in place
    of a text that must be at rest nowhere: whoever waits gets the text, and who comes later this.
    """

    ok: bool
    text: str
    block: str = ""
    final: bool = True
    later: str = ""


def kept(reply: Reply, origin: Origin) -> str | None:
    """Encode a reply for its operation's row, where no room gets it; None otherwise."""
    if origin.kind is OriginKind.MATRIX:
        return None
    return json.dumps({"ok": reply.ok, "text": reply.later or reply.text, "block": reply.block})


def printable(text: str) -> str:
    """Return `text` with invisible characters, and those that move others, spelled out."""
    return "".join(
        character
        if character == "\n" or unicodedata.category(character)[0] != "C"
        else f"\\u{{{ord(character):x}}}"
        for character in text
    )


def reply_message(
    reply: Reply, origin: Origin, *, as_user: str, trace: str, index: int = 0
) -> Message:
    """Make the message that answers a command, in the thread that it came from.

    It begins with the command as understood if people may see another text in its place.
    `index` is the reply's number: 0 for the final one, 1 and up for those before it.
    """
    text = _bounded(printable(reply.text), _MAX_TEXT_BYTES)
    if origin.understood:
        text = f"Understood: {_bounded(printable(origin.understood), _MAX_QUOTE_BYTES)}\n{text}"
    block = _bounded(printable(reply.block), _MAX_BLOCK_BYTES)
    content: dict[str, Any] = {
        "msgtype": "m.notice",
        "body": f"{text}\n\n{block}" if block else text,
        "format": "org.matrix.custom.html",
        "formatted_body": _formatted(text, block),
        "m.relates_to": {
            "rel_type": "m.thread",
            "event_id": origin.thread,
            "is_falling_back": True,
            "m.in_reply_to": {"event_id": origin.id},
        },
        REPLY_KEY: {"command": origin.id, "trace": trace, "ok": reply.ok, "final": reply.final},
    }
    if index:  # no two replies to one command are alike
        content[REPLY_KEY]["index"] = index
    if "@" in content["body"]:
        # The text mentions nobody, whatever it says. Only here: it costs Synapse 3 ms a message.
        content["m.mentions"] = {}
    _fit(content)
    return Message(
        txn_id=transaction_id(origin.id, index),
        room_id=origin.room_id,
        as_user=as_user,
        content=content,
        trace=trace,
    )


def notice_message(
    text: str,
    room_id: str,
    *,
    as_user: str,
    trace: str,
    rings: bool = False,
    about: Mapping[str, Any] | None = None,
    block: str = "",
) -> Message:
    """Make a message to a room that answers no command; `about` is told to programs.

    One that `rings` notifies people: clients are silent about a notice. `block` is shown below in
    fixed width.
    """
    text, block = (
        _bounded(printable(text), _MAX_TEXT_BYTES),
        _bounded(printable(block), _MAX_BLOCK_BYTES),
    )
    content: dict[str, Any] = {
        "msgtype": "m.text" if rings else "m.notice",
        "body": f"{text}\n\n{block}" if block else text,
        # No two notices are alike, so that one that was posted already is known again.
        NOTICE_KEY: {**(about or {}), "trace": trace},
    }
    if block:
        content |= {"format": "org.matrix.custom.html", "formatted_body": _formatted(text, block)}
    if rings or "@" in content["body"]:
        content["m.mentions"] = {}
    _fit(content)
    return Message(transaction_id(trace, 0), room_id, as_user, content, trace)


def _formatted(text: str, block: str) -> str:
    formatted = "<br>".join(html.escape(line) for line in text.split("\n"))
    return f"{formatted}<pre><code>{html.escape(block)}\n</code></pre>" if block else formatted


def _fit(content: dict[str, Any]) -> None:
    """Leave the HTML out of a content that is too long: the plain body says the same."""
    if len(canonical_json(content)) > _MAX_CONTENT_BYTES:
        content.pop("format", None)
        content.pop("formatted_body", None)


def _bounded(text: str, most: int) -> str:
    data = text.encode()
    return text if len(data) <= most else data[:most].decode(errors="ignore") + _CUT
