"""State of a room, read from `GET /rooms/{id}/state`: pure, and without trust in any content.

Source: Matrix specification 1.16, "Room events", "Room upgrades", "Server access control lists".
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agency.matrix.rooms import lists_creator

_KINDS = {
    "m.room.create",
    "m.room.power_levels",
    "m.room.encryption",
    "m.room.tombstone",
    "m.room.server_acl",
}
# Types of state that decide who may do what in a room, and whether it is still in use.
TELLING = frozenset(_KINDS | {"m.room.member"})


@dataclass(frozen=True, slots=True)
class MemberState:
    """Membership of one user: who set it, by which event, and which event that one replaced."""

    membership: str
    sender: str = ""
    event_id: str = ""
    replaces: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of one room at one time, as far as the control plane uses it.

    Attributes:
        creators: The users whose power has no limit; empty before room version 12.
        creator: The user who made the room.
        predecessor: The room that this one says it replaces.
        levels: The content of its power levels; None if it has none.
        replacement: The room that its tombstone names; `replaced_by` sent the tombstone.
    """

    version: str = "1"
    creator: str = ""
    creators: frozenset[str] = frozenset()
    predecessor: str = ""
    members: Mapping[str, MemberState] = field(default_factory=dict)
    levels: Mapping[str, Any] | None = None
    encrypted: bool = False
    replacement: str = ""
    replaced_by: str = ""
    acl: Mapping[str, Any] | None = None

    def membership(self, user: str) -> str:
        """Return `join`, `invite`, `leave`, `ban`, `knock`, or nothing for a user never seen."""
        found = self.members.get(user)
        return "" if found is None else found.membership

    def denies(self, server: str) -> bool:
        """Return whether the server access control list keeps a server out of the room."""
        if self.acl is None:
            return False
        if any(fnmatch.fnmatchcase(server, each) for each in _texts(self.acl.get("deny"))):
            return True
        return not any(fnmatch.fnmatchcase(server, each) for each in _texts(self.acl.get("allow")))


def read_snapshot(events: Iterable[object]) -> Snapshot:
    """Read the list of a room's state events."""
    members: dict[str, MemberState] = {}
    found: dict[str, dict[str, Any]] = {}
    for event in events:
        if not isinstance(event, dict) or not isinstance(event.get("state_key"), str):
            continue
        kind, key = _text(event.get("type")), event["state_key"]
        if kind == "m.room.member":
            members[key] = _member(event)
        elif kind in _KINDS and not key:
            found[kind] = event
    create = found.get("m.room.create", {})
    made, tombstone = _content(create), found.get("m.room.tombstone", {})
    version = _text(made.get("room_version")) or "1"
    creator = _text(create.get("sender"))
    predecessor = made.get("predecessor")
    return Snapshot(
        version=version,
        creator=creator,
        creators=frozenset()
        if lists_creator(version)
        else frozenset({creator, *_texts(made.get("additional_creators"))}),
        predecessor=_text(predecessor.get("room_id")) if isinstance(predecessor, dict) else "",
        members=members,
        levels=_content(found["m.room.power_levels"]) if "m.room.power_levels" in found else None,
        encrypted="m.room.encryption" in found,
        replacement=_text(_content(tombstone).get("replacement_room")),
        replaced_by=_text(tombstone.get("sender")),
        acl=_content(found["m.room.server_acl"]) if "m.room.server_acl" in found else None,
    )


def _member(event: dict[str, Any]) -> MemberState:
    unsigned = event.get("unsigned")
    return MemberState(
        membership=_text(_content(event).get("membership")),
        sender=_text(event.get("sender")),
        event_id=_text(event.get("event_id")),
        replaces=_text(unsigned.get("replaces_state")) if isinstance(unsigned, dict) else "",
    )


def _content(event: Mapping[str, Any]) -> dict[str, Any]:
    content = event.get("content")
    return content if isinstance(content, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
