"""Room versions and power levels: pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_BOT_POWER = 100
OPERATOR_POWER = 50
_FIRST_VERSION_WITH_CREATORS = 12


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
    bot_id: str, operators: Iterable[str], *, creator_is_listed: bool
) -> dict[str, Any]:
    """Return the control room's power levels; `creator_is_listed` is what `lists_creator` says."""
    users = dict.fromkeys(operators, OPERATOR_POWER)
    if creator_is_listed:
        users[bot_id] = _BOT_POWER
    return {
        "users": users,
        "users_default": 0,
        "events_default": 0,
        "invite": OPERATOR_POWER,
        "kick": OPERATOR_POWER,
        "ban": OPERATOR_POWER,
        "redact": OPERATOR_POWER,
        "state_default": _BOT_POWER,
        "events": {"m.room.name": OPERATOR_POWER, "m.room.topic": OPERATOR_POWER},
    }
