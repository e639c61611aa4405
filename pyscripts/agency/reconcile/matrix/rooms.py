"""Declared state of the control room and the space, and a room's differences from it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from agency.matrix import lists_creator, power_levels
from agency.reconcile.engine.contract import Settings

CREATE, NAME, LEVELS = "m.room.create", "m.room.name", "m.room.power_levels"
JOIN_RULES, HISTORY = "m.room.join_rules", "m.room.history_visibility"
ALIAS, ENCRYPTION = "m.room.canonical_alias", "m.room.encryption"
CHILD, PARENT, SPACE_TYPE = "m.space.child", "m.space.parent", "m.space"
# In the create event, which never changes: the space of the instance that it names.
SPACE_OF = "agency.instance"
# A later member may see the history that members saw; a user outside the room sees none.
_CLOSED_HISTORY = ("shared", "invited", "joined")
_SPACE_EVENTS = 100

UserId = Annotated[str, Field(pattern=r"^@[^:\s]+:[^\s]+$", max_length=255)]
Alias = Annotated[str, Field(pattern=r"^#[^:\s]+:[^\s]+$", max_length=255)]
State = Mapping[tuple[str, str], Mapping[str, Any]]


class RoomMember(Settings):
    """Agent, by its Matrix id."""

    matrix_id: UserId


class SynapseRoomsSettings(Settings):
    """Rooms of the instance and their members."""

    homeserver_url: str = Field(pattern=r"^https?://[!-~]+[^/]$")
    instance: str = Field(min_length=1, max_length=100)
    domain: str = Field(min_length=1, max_length=253)
    bot_id: UserId
    control_room_alias: Alias
    operators: tuple[UserId, ...] = Field(min_length=1)
    members: tuple[UserId, ...] = ()
    agents: tuple[RoomMember, ...] = ()


@dataclass(frozen=True, slots=True)
class Room:
    """Observed state of a room; `listed` if the public directory shows it."""

    id: str
    state: State
    listed: bool

    def content(self, kind: str, key: str = "") -> Mapping[str, Any]:
        """Return the content of a state event; empty if there is none."""
        return self.state.get((kind, key), {})

    @property
    def lists_creator(self) -> bool:
        """True if its power levels name the creator."""
        return lists_creator(str(self.content(CREATE).get("room_version", "1")))

    def members(self, *memberships: str) -> frozenset[str]:
        """List the users with one of these memberships."""
        return frozenset(
            key
            for (kind, key), content in self.state.items()
            if kind == "m.room.member" and content.get("membership") in memberships
        )


def levels(settings: SynapseRoomsSettings, room: Room, *, space: bool) -> dict[str, Any]:
    """Return the power levels that a room needs; in the space, only the bot may post."""
    wanted = power_levels(settings.bot_id, settings.operators, creator_is_listed=room.lists_creator)
    return {**wanted, "events_default": _SPACE_EVENTS} if space else wanted


def differences(
    settings: SynapseRoomsSettings, room: Room, *, alias: str | None
) -> list[tuple[str, str, str, dict[str, Any]]]:
    """Yield event type, from, to and the correcting content, for all state that differs.

    The space has no alias: it is known by its create event, and people are invited to it.
    """
    found = []
    rule = room.content(JOIN_RULES).get("join_rule", "none")
    if rule != "invite":
        found.append((JOIN_RULES, rule, "invite", {"join_rule": "invite"}))
    history = room.content(HISTORY).get("history_visibility", "none")
    if history not in _CLOSED_HISTORY:
        content = {"history_visibility": "shared"}
        found.append((HISTORY, history, "shared", content))
    known = room.content(ALIAS).get("alias", "none")
    if alias is not None and known != alias:
        found.append((ALIAS, known, alias, {"alias": alias}))
    current, wanted = room.content(LEVELS), levels(settings, room, space=alias is None)
    wrong = sorted(key for key, value in wanted.items() if current.get(key) != value)
    if wrong:
        before = ", ".join(f"{key} {current.get(key)}" for key in wrong)
        after = ", ".join(f"{key} {wanted[key]}" for key in wrong)
        found.append((LEVELS, before, after, {**current, **wanted}))
    return found


def refers(room: Room, kind: str, other: str, domain: str) -> bool:
    """Return whether a room names another as its child or parent, and says by which server."""
    return domain in room.content(kind, other).get("via", [])
