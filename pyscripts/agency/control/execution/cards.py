"""Status cards: one message about an operation, edited as its steps go. Pure.

Source: Matrix specification 1.11, "Event replacements": the new content stands in `m.new_content`,
without a relation, and beside it what a client shows that knows no edits.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agency.control.execution.replies import printable
from agency.control.operation import Operation, OriginKind
from agency.control.store.outbox import Message, transaction_id
from agency.protocols import NOTICE_KEY, REPLY_KEY

# In the outbox alone: the transaction id of the message that a message edits. Which event that
# became is known when it was sent.
_EDITS = "edits"
_RELATION = "m.relates_to"
_MOST_LINE, _MOST_SAID = 300, 200
_RUNS = "runs"


@dataclass(frozen=True, slots=True)
class Card:
    """Card of an operation in a room; `steps` are its lines, and `end` is empty while it runs."""

    operation: Operation
    room_id: str
    steps: Sequence[str]
    end: str = ""

    @property
    def text(self) -> str:
        """Its text: the command and its state, and a line for each step."""
        said = _cut(self.operation.said, _MOST_SAID)
        mark = "\N{BULLET}"
        return "\n".join(
            [f"{said}: {self.end or _RUNS}", *(f"{mark} {_cut(step)}" for step in self.steps)]
        )


def card_id(operation: Operation) -> str:
    """Return the transaction id of the card of an operation."""
    return transaction_id(f"{operation.origin.id}/card", 0)


def edit_id(operation: Operation, number: int) -> str:
    """Return the transaction id of an edit, from 1."""
    return transaction_id(f"{operation.origin.id}/card", number)


def end_id(operation: Operation) -> str:
    """Return the transaction id of the last edit."""
    return transaction_id(f"{operation.origin.id}/card/end", 0)


def card_message(card: Card, *, as_user: str) -> Message:
    """Make the card: in the thread of its command, or alone for one that came from no room."""
    operation = card.operation
    content = _content(card, 0)
    if operation.origin.kind is OriginKind.MATRIX:
        content[_RELATION] = {
            "rel_type": "m.thread",
            "event_id": operation.origin.thread,
            "is_falling_back": True,
            "m.in_reply_to": {"event_id": operation.origin.id},
        }
    return Message(card_id(operation), card.room_id, as_user, content, operation.trace)


def edit_message(card: Card, number: int, *, as_user: str) -> Message:
    """Make an edit of the card; 0 is the last one."""
    operation = card.operation
    content = as_edit(_content(card, number or "end"), card_id(operation))
    txn_id = edit_id(operation, number) if number else end_id(operation)
    return Message(txn_id, card.room_id, as_user, content, operation.trace)


def as_edit(new: dict[str, Any], txn_id: str) -> dict[str, Any]:
    """Return the content of an edit of the message with this transaction id."""
    shown: dict[str, Any] = {
        key: f"* {new[key]}" for key in ("body", "formatted_body") if key in new
    }
    return {**new, **shown, "m.new_content": new, _EDITS: txn_id}


def edited_message(content: Mapping[str, Any]) -> str | None:
    """Return the transaction id of the message that a queued message edits; None if it is none."""
    found = content.get(_EDITS)
    return found if isinstance(found, str) else None


def edit_of(content: Mapping[str, Any], event_id: str) -> dict[str, Any]:
    """Return the content of a queued edit as it is sent: of that event."""
    sent = {key: value for key, value in content.items() if key != _EDITS}
    return {**sent, _RELATION: {"rel_type": "m.replace", "event_id": event_id}}


def _content(card: Card, number: int | str) -> dict[str, Any]:
    operation, text = card.operation, card.text
    content: dict[str, Any] = {
        "msgtype": "m.notice",
        "body": text,
        "format": "org.matrix.custom.html",
        "formatted_body": "<br>".join(html.escape(line) for line in text.split("\n")),
    }
    about = {"trace": operation.trace, "card": number}  # no two of them are alike
    if operation.origin.kind is OriginKind.MATRIX:
        content[REPLY_KEY] = {"command": operation.origin.id, "ok": True, "final": False, **about}
    else:
        content[NOTICE_KEY] = {"operation": operation.id, **about}
    if "@" in text:
        content["m.mentions"] = {}
    return content


def _cut(text: str, most: int = _MOST_LINE) -> str:
    shown = printable(text).replace("\n", " ")
    return shown if len(shown) <= most else f"{shown[:most]}..."
