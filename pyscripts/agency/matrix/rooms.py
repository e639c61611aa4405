"""Kinds of rooms that the bot keeps, room versions and power levels: pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from agency import naming

_BOT_POWER = 100
OPERATOR_POWER = 50
_FIRST_VERSION_WITH_CREATORS = 12


@dataclass(frozen=True, slots=True)
class RoomKind:
    """Kind of a room that the bot keeps: its title in messages, its topic, the power to speak."""

    title: str
    topic: str
    speak: int = 0

    def name(self, instance: str) -> str:
        """Return the name of the room of this kind."""
        return f"{self.title[:1].upper()}{self.title[1:]} of {instance}"


CONTROL_ROOM = RoomKind(
    "control room", "Say !agency help. Only operators are obeyed; everything is audited."
)
APPROVALS_ROOM = RoomKind(
    "approvals room", "Approve or deny here what waits for an approval; everything is audited."
)
AUDIT_ROOM = RoomKind(
    "audit room", "What was asked, and what became of it. Nobody but the bot speaks.", _BOT_POWER
)


def localpart(identifier: str) -> str:
    """Return `alice` of `@alice:example.org`."""
    return identifier[1:].partition(":")[0]


def lists_creator(version: str) -> bool:
    """Return whether power levels of this room version name the creator.

    From version 12 on the creator has all power and must not be listed.
    Source: Matrix specification 1.16, "Room version 12".
    """
    return not version.isdecimal() or int(version) < _FIRST_VERSION_WITH_CREATORS


def power_levels(
    bot_id: str, operators: Iterable[str], *, creator_is_listed: bool, speak: int = 0
) -> dict[str, Any]:
    """Return a room's power levels.

    `creator_is_listed` is what `lists_creator` says; `speak` is the power that it takes to speak.
    """
    users = dict.fromkeys(operators, OPERATOR_POWER)
    if creator_is_listed:
        users[bot_id] = _BOT_POWER
    return {
        "users": users,
        "users_default": 0,
        "events_default": speak,
        "invite": OPERATOR_POWER,
        "kick": OPERATOR_POWER,
        "ban": OPERATOR_POWER,
        "redact": OPERATOR_POWER,
        "state_default": _BOT_POWER,
        "events": {"m.room.name": OPERATOR_POWER, "m.room.topic": OPERATOR_POWER},
    }


def is_agents_own(user: str, bot: str) -> bool:
    """Return whether a user is in the namespace of agents, at the homeserver of the bot."""
    prefix = f"@{naming.agent_localpart('')}"
    return user.startswith(prefix) and user.partition(":")[2] == bot.partition(":")[2]
