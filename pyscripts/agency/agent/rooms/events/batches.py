"""Batches: the answer to a sync as values, without what was said before the agent joined."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agency.agent.rooms.events.reading import Event

PAGE = 100  # events of a room in one batch, and of one page of older ones


@dataclass(frozen=True, slots=True)
class RoomEvents:
    """New events of a room, in their order; with `gap`, older ones are missing before `gap`."""

    room: str
    events: Sequence[Event]
    gap: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Answer to a sync; `invited` are rooms."""

    next: str
    rooms: tuple[RoomEvents, ...] = ()
    invited: tuple[str, ...] = ()


def read_batch(answer: Mapping[str, Any], me: str) -> Batch | None:
    """Read the answer to a sync; None if it is none."""
    token = answer.get("next_batch")
    if not isinstance(token, str) or not token:
        return None
    rooms = _mapping(answer.get("rooms"))
    found = []
    for room, joined in _mapping(rooms.get("join")).items():
        timeline = _mapping(_mapping(joined).get("timeline"))
        events, began = since_joined(_events(timeline.get("events")), me)
        before = timeline.get("prev_batch")
        gap = before if timeline.get("limited") and isinstance(before, str) else None
        found.append(RoomEvents(room, events, None if began else gap))
    return Batch(token, tuple(found), tuple(_mapping(rooms.get("invite"))))


def since_joined(events: Sequence[Event], me: str) -> tuple[Sequence[Event], bool]:
    """Leave out what was before the agent joined; return whether it joined among these events."""
    for at in range(len(events) - 1, -1, -1):
        event = events[at]
        if event.get("type") == "m.room.member" and event.get("state_key") == me:
            was = _mapping(_mapping(event.get("unsigned")).get("prev_content")).get("membership")
            if _mapping(event.get("content")).get("membership") == "join" and was != "join":
                return events[at + 1 :], True
    return events, False


def read_page(answer: Mapping[str, Any]) -> tuple[list[Event], str | None]:
    """Read a page of older events, newest first; return them in their order, and what is before."""
    events, end = _events(answer.get("chunk")), answer.get("end")
    return events[::-1], end if isinstance(end, str) and events else None


def sync_filter() -> str:
    """Return the filter of syncs: messages, redactions and memberships alone."""
    nothing = {"not_types": ["*"]}
    types = ["m.room.message", "m.room.encrypted", "m.room.redaction", "m.room.member"]
    room = {
        "timeline": {"types": types, "limit": PAGE},
        "state": nothing,
        "ephemeral": nothing,
        "account_data": nothing,
    }
    return json.dumps({"presence": nothing, "account_data": nothing, "room": room})


def _events(value: object) -> list[Event]:
    listed: Iterable[object] = value if isinstance(value, list) else ()
    return [each for each in listed if isinstance(each, dict)]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
