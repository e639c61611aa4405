"""Matrix events as the control plane sees them: the few fields that it uses, checked.

Events come from a homeserver, but any user may choose their content: every field may be missing or
of any type. Source: Matrix specification 1.11, "Events", "m.room.message", "Event replacements",
"Threading", "Rich replies".
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from agency.control.leaks import token_in
from agency.control.message import mentioned, shown_instead, without_fallback
from agency.matrix import TELLING

_MAX_ID = 255
_MAX_TS = 2**53
_MAX_KEY = 64
_ID = re.compile(r"[!-~]{1,255}\Z")


class MalformedEventError(ValueError):
    """An event lacks a field that every event has, or has it in a wrong type."""


class EventKind(StrEnum):
    """The kinds of event that the control plane uses."""

    MESSAGE = "message"
    ENCRYPTED = "encrypted"
    REACTION = "reaction"  # to a prompt, as the command that it stands for


_KINDS = {"m.room.message": EventKind.MESSAGE, "m.room.encrypted": EventKind.ENCRYPTED}


@dataclass(frozen=True, slots=True)
class IncomingEvent:
    """One message. `text` is its text; for an edit, the new text.

    `replaces` is the event that this one edits; `thread` is the root of its thread; `mentions` are
    the users whom it mentions; `shown` is its HTML if that differs from `text`. `answers` is the
    event that it is a reply to; a file with a caption is its own. `leak` names the kind of token
    that the message held; then no text of it is kept.
    """

    event_id: str
    room_id: str
    sender: str
    origin_ts: int
    kind: EventKind
    msgtype: str = ""
    text: str = ""
    replaces: str | None = None
    thread: str | None = None
    mentions: tuple[str, ...] = ()
    shown: str = ""
    leak: str = ""
    answers: str = ""

    def content_json(self) -> str:
        """Encode the fields that the inbox keeps, as pure ASCII JSON."""
        return json.dumps(
            {
                "kind": self.kind,
                "msgtype": self.msgtype,
                "text": self.text,
                "replaces": self.replaces,
                "thread": self.thread,
                "mentions": self.mentions,
                "shown": self.shown,
                "leak": self.leak,
                "answers": self.answers,
            }
        )

    @classmethod
    def from_stored(
        cls, *, event_id: str, room_id: str, sender: str, origin_ts: int, content: str
    ) -> IncomingEvent:
        """Decode an event from its columns in the inbox and its `content_json`."""
        kept = json.loads(content)
        kind = EventKind(kept.pop("kind"))
        mentions = tuple(kept.pop("mentions", ()))
        return cls(event_id, room_id, sender, origin_ts, kind, mentions=mentions, **kept)


@dataclass(frozen=True, slots=True)
class Redaction:
    """Deletion of a message: `by` deleted the event `redacts`."""

    room_id: str
    by: str
    redacts: str


@dataclass(frozen=True, slots=True)
class Reaction:
    """Reaction to a message: `by` put the emoji `key` to the event `target`."""

    event_id: str
    room_id: str
    by: str
    origin_ts: int
    key: str
    target: str

    def said(self, text: str, thread: str) -> IncomingEvent:
        """Return it as the command that it stands for, to be answered in a thread."""
        return IncomingEvent(
            event_id=self.event_id,
            room_id=self.room_id,
            sender=self.by,
            origin_ts=self.origin_ts,
            kind=EventKind.REACTION,
            msgtype="m.text",
            text=text,
            thread=thread,
        )


@dataclass(frozen=True, slots=True)
class RoomChange:
    """Change of a room's state that may decide who may do what there.

    `invites` is the user whom it invites; empty if it invites nobody.
    """

    room_id: str
    sender: str
    invites: str = ""


def parse_redaction(raw: object) -> Redaction | None:
    """Read a redaction; None for any other event, and for one that deletes nothing.

    Source: Matrix specification 1.16, "Redactions": from room version 11 on the id of the deleted
    event is in the content, before that beside it.

    Raises:
        MalformedEventError: it is one without an id that every event has.
    """
    if not isinstance(raw, dict) or raw.get("type") != "m.room.redaction" or "state_key" in raw:
        return None
    content, redacts = raw.get("content"), raw.get("redacts")
    if isinstance(content, dict) and content.get("redacts") is not None:
        redacts = content["redacts"]
    if not isinstance(redacts, str) or not _ID.match(redacts):
        return None
    return Redaction(_identifier(raw, "room_id"), _identifier(raw, "sender"), redacts)


def parse_reaction(raw: object) -> Reaction | None:
    """Read a reaction; None for any other event, and for one without a key or a target.

    Source: Matrix specification 1.11, "Event annotations and reactions".

    Raises:
        MalformedEventError: it is one without a field that every event has.
    """
    if not isinstance(raw, dict) or raw.get("type") != "m.reaction" or "state_key" in raw:
        return None
    content = raw.get("content")
    relation = content.get("m.relates_to") if isinstance(content, dict) else None
    if not isinstance(relation, dict) or relation.get("rel_type") != "m.annotation":
        return None
    key, target = relation.get("key"), _optional_identifier(relation, "event_id")
    if not isinstance(key, str) or len(key) > _MAX_KEY or target is None:
        return None
    ids = {each: _identifier(raw, each) for each in ("event_id", "room_id", "sender")}
    return Reaction(ids["event_id"], ids["room_id"], ids["sender"], _origin_ts(raw), key, target)


def parse_room_change(raw: object) -> RoomChange | None:
    """Read a state event that decides who may do what in a room; None for any other event.

    Raises:
        MalformedEventError: it is one without an id that every event has.
    """
    if not isinstance(raw, dict) or not isinstance(raw.get("state_key"), str):
        return None
    if not isinstance(raw.get("type"), str) or raw["type"] not in TELLING:
        return None
    content, invites = raw.get("content"), ""
    if raw["type"] == "m.room.member" and isinstance(content, dict):
        invites = raw["state_key"] if content.get("membership") == "invite" else ""
    return RoomChange(_identifier(raw, "room_id"), _identifier(raw, "sender"), invites)


def parse_event(raw: object) -> IncomingEvent | None:
    """Parse an event; None if it is of a kind that is not used (state, reactions, redactions).

    Raises:
        MalformedEventError: it is not an event.
    """
    if not isinstance(raw, dict):
        raise MalformedEventError("not an object")
    kind = _KINDS.get(raw["type"]) if isinstance(raw.get("type"), str) else None
    if kind is None or "state_key" in raw:
        return None
    ids = {key: _identifier(raw, key) for key in ("event_id", "room_id", "sender")}
    origin_ts = _origin_ts(raw)
    content = raw.get("content")
    if not isinstance(content, dict):
        raise MalformedEventError("content is not an object")
    if kind is EventKind.ENCRYPTED:
        return _event(ids, origin_ts, kind)
    return _message(content, _event(ids, origin_ts, kind))


def _event(ids: dict[str, str], origin_ts: int, kind: EventKind) -> IncomingEvent:
    return IncomingEvent(ids["event_id"], ids["room_id"], ids["sender"], origin_ts, kind)


def _message(content: dict[str, Any], event: IncomingEvent) -> IncomingEvent:
    relation = content.get("m.relates_to")
    target = _optional_identifier(relation, "event_id")
    rel_type = relation.get("rel_type") if isinstance(relation, dict) else None
    replaces = target if rel_type == "m.replace" else None
    said = content
    if rel_type == "m.replace" and isinstance(content.get("m.new_content"), dict):
        said = content["m.new_content"]
    text = _text(said.get("body"))
    if said.get("msgtype") == "m.file" and said.get("filename") in (None, text):
        text = ""  # the file's name: it has no caption
    leak = token_in(*_texts(content), *_texts(said)) or ""
    if isinstance(relation, dict) and isinstance(relation.get("m.in_reply_to"), dict):
        text = without_fallback(text)
    return replace(
        event,
        msgtype=_text(said.get("msgtype"))[:_MAX_ID],
        text="" if leak else text,
        leak=leak,
        answers=_answered(relation, said, event.event_id),
        replaces=replaces or ("" if rel_type == "m.replace" else None),
        thread=target if rel_type == "m.thread" else None,
        mentions=mentioned(said),
        shown="" if leak else shown_instead(said, text),
    )


def _answered(relation: object, said: dict[str, Any], own_id: str) -> str:
    """Return the event that a message is a reply to, or the message itself if it is a file.

    In a thread, clients write a reply for others that know no threads: it answers nothing.
    """
    if said.get("msgtype") == "m.file":
        return own_id
    if not isinstance(relation, dict) or relation.get("is_falling_back") is True:
        return ""
    return _optional_identifier(relation.get("m.in_reply_to"), "event_id") or ""


def _origin_ts(raw: dict[str, Any]) -> int:
    value = raw.get("origin_server_ts")
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > _MAX_TS:
        raise MalformedEventError("origin_server_ts is not a time")
    return value


def _texts(content: dict[str, Any]) -> tuple[str, str]:
    return _text(content.get("body")), _text(content.get("formatted_body"))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _identifier(raw: dict[str, Any], key: str) -> str:
    value = raw.get(key)
    if not isinstance(value, str) or not _ID.match(value):
        raise MalformedEventError(f"{key} is not an identifier")
    # The other actors of the policy, who come from no room, have names without it.
    if key == "sender" and not value.startswith("@"):
        raise MalformedEventError("sender is no user")
    return value


def _optional_identifier(relation: object, key: str) -> str | None:
    value = relation.get(key) if isinstance(relation, dict) else None
    return value if isinstance(value, str) and _ID.match(value) else None
