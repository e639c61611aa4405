"""Reading of a room's event: a message with its thread and mentions, or the reason why it is none.

Source: Matrix specification 1.11, "m.room.message", "Threading", "User and room mentions",
"Event replacements", "Rich replies".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Event = Mapping[str, Any]

MAX_TEXT = 16 * 1024  # characters of a message
ENVELOPE_KEY = "org.agency.envelope"
AGENT_KEY = "org.agency.agent"  # on all that an agent says
_LONGEST_ID = 255
_KEPT = "\n\t"
_END = r"(?![\w/-]|[.:]\w)"  # of an id: no further letter, and neither a domain nor a port


class Unread(StrEnum):
    """Reason why an event is no message to an agent."""

    OTHER = "no message"
    ENCRYPTED = "encrypted"
    NOT_TEXT = "no text"
    EDIT = "an edit"
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class Message:
    """A text message. `mentions` is None if its client does not say whom it mentions."""

    event_id: str
    room: str
    sender: str
    sent_ms: int
    text: str
    thread: str | None = None
    mentions: frozenset[str] | None = None
    envelope: object = None
    of_agent: bool = False

    @property
    def root(self) -> str:
        """Event that begins the thread of the answer."""
        return self.thread or self.event_id


def read_message(room: str, event: Event) -> Message | Unread:
    """Read an event of a room's timeline; everything in it is a stranger's until it is judged."""
    if event.get("type") == "m.room.encrypted":
        return Unread.ENCRYPTED
    if event.get("type") != "m.room.message" or "state_key" in event:
        return Unread.OTHER
    content, sent = event.get("content"), event.get("origin_server_ts")
    if not isinstance(content, dict) or isinstance(sent, bool) or not isinstance(sent, int):
        return Unread.MALFORMED
    if not _is_id(event.get("event_id"), "$") or not _is_id(event.get("sender"), "@"):
        return Unread.MALFORMED
    if content.get("msgtype") != "m.text":  # also a redacted message, which has none
        return Unread.NOT_TEXT
    relation = _mapping(content.get("m.relates_to"))
    if relation.get("rel_type") == "m.replace" or "m.new_content" in content:
        return Unread.EDIT
    body = content.get("body")
    if not isinstance(body, str):
        return Unread.MALFORMED
    thread = None
    if relation.get("rel_type") == "m.thread":
        thread = relation.get("event_id")
        if not _is_id(thread, "$"):
            return Unread.MALFORMED
    replies = isinstance(relation.get("m.in_reply_to"), dict)
    return Message(
        str(event["event_id"]),
        room,
        str(event["sender"]),
        sent,
        visible(_without_quotation(body) if replies else body),
        thread,
        _mentions(content),
        content.get(ENVELOPE_KEY),
        AGENT_KEY in content,
    )


def redacted_by(event: Event) -> str | None:
    """Return the event that a redaction takes back; None if it is no redaction."""
    if event.get("type") != "m.room.redaction":
        return None
    old, new = event.get("redacts"), _mapping(event.get("content")).get("redacts")
    found = old if isinstance(old, str) else new  # new since room version 11
    return found if isinstance(found, str) else None


def visible(text: str) -> str:
    """Leave out control and formatting characters: what people see is what the agent is told."""
    return "".join(_kept(text)).strip()


def _kept(text: str) -> Iterator[str]:
    for each in text.replace("\r\n", "\n"):
        if each in _KEPT or unicodedata.category(each) not in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            yield each
        elif each in "\u2028\u2029\x85":
            yield "\n"
        elif each in "\u200c\u200d":  # parts of words in some scripts, and of emoji
            yield each


def asked_text(text: str, me: str) -> str:
    """Return what is asked: the text without the agent's own id at its beginning."""
    found = re.match(rf"{re.escape(me)}{_END}[\s,:.]*", text)
    return text[found.end() :].strip() if found else text


def names(text: str, user: str) -> bool:
    """Return whether the text has a user's full Matrix id as a word of its own."""
    return re.search(rf"(?<![\w@.:/-]){re.escape(user)}{_END}", text) is not None


def _without_quotation(body: str) -> str:
    """Leave out the quotation that older clients put before a reply."""
    if not body.startswith("> "):
        return body
    lines = body.split("\n")
    first = next((n for n, line in enumerate(lines) if not line.startswith(">")), len(lines))
    return "\n".join(lines[first:])


def _mentions(content: Mapping[str, Any]) -> frozenset[str] | None:
    found = content.get("m.mentions")
    if not isinstance(found, dict):
        return None
    users = found.get("user_ids")
    listed = users if isinstance(users, list) else []
    return frozenset(each for each in listed[:1000] if isinstance(each, str))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_id(value: object, sigil: str) -> bool:
    return isinstance(value, str) and value.startswith(sigil) and len(value) <= _LONGEST_ID
