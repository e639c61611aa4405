"""Power in the control room: the instance says who has it, and everything else is put back. Pure.

Source: Matrix specification 1.16, "m.room.power_levels", "Authorization rules".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from agency.matrix.rooms import OPERATOR_POWER, power_levels
from agency.matrix.state.snapshot import Snapshot

_MISSING = {"users_default": 0, "events_default": 0, "state_default": 50, "invite": 0}
_POWER_LEVELS = "m.room.power_levels"
_UNLIMITED = float("inf")


@dataclass(frozen=True, slots=True)
class PowerPlan:
    """Change that the bot has to make to the power levels of the control room.

    Attributes:
        content: The power levels to send; None if there is nothing that the bot can change.
        taken: The people whose power is taken by that.
        out_of_reach: The people who keep a power that they should not have.
    """

    content: dict[str, Any] | None = None
    taken: tuple[str, ...] = ()
    out_of_reach: tuple[str, ...] = ()


def level(state: Snapshot, user: str) -> float:
    """Return the power level of a user; that of a creator has no limit from version 12 on."""
    if user in state.creators:
        return _UNLIMITED
    if state.levels is None:
        return 100 if user == state.creator else 0
    users = _part(state.levels, "users")
    return _number(users.get(user), _default(state.levels, "users_default"))


def needed(state: Snapshot, kind: str, *, is_state: bool) -> float:
    """Return the power level that an event of a type needs in the room."""
    if state.levels is None:
        return 0
    default = _default(state.levels, "state_default" if is_state else "events_default")
    return _number(_part(state.levels, "events").get(kind), default)


def power_plan(state: Snapshot, bot: str, operators: Collection[str], speak: int = 0) -> PowerPlan:
    """Compare the power levels with those that the instance asks for, and plan what differs.

    A homeserver refuses a change as a whole if one part of it is above the sender's own level, so
    only what the bot may change is in the plan.
    """
    own = level(state, bot)
    current = dict(state.levels or {})
    wanted = power_levels(
        bot,
        [who for who in operators if who not in state.creators],
        creator_is_listed=bot not in state.creators,
        speak=speak,
    )
    users, taken, out_of_reach = _users(state, bot, wanted["users"], own)
    out_of_reach += tuple(sorted(state.creators - {bot, *operators}))
    content = {**current, "users": users}
    for key, value in wanted.items():
        if key == "events":
            content[key] = _events(_part(current, key), value, own)
        elif key != "users" and max(_default(current, key), value) <= own:
            content[key] = value
    if own < needed(state, _POWER_LEVELS, is_state=True):
        return PowerPlan(out_of_reach=(*out_of_reach, *taken))
    if content == current:
        return PowerPlan(out_of_reach=out_of_reach)
    return PowerPlan(content, taken, out_of_reach)


def _users(
    state: Snapshot, bot: str, wanted: Mapping[str, int], own: float
) -> tuple[dict[str, Any], tuple[str, ...], tuple[str, ...]]:
    """Return the users to write, those who lose power, and those above the bot.

    Who has less than no power was muted by somebody, and stays so.
    """
    current = _part(state.levels or {}, "users")
    users: dict[str, Any] = {}
    taken, out_of_reach = [], []
    for who, given in current.items():
        has, right = _number(given, 0), wanted.get(who, 0)
        if who == bot or (who not in wanted and has <= 0):
            users[who] = given
        elif has >= own:
            users[who] = given
            if has > right:
                out_of_reach.append(who)
        elif has > right:
            taken.append(who)
    users |= {who: right for who, right in wanted.items() if who not in users and right <= own}
    return users, tuple(taken), tuple(out_of_reach)


def _events(current: Mapping[str, Any], wanted: Mapping[str, int], own: float) -> dict[str, Any]:
    kept = {kind: given for kind, given in current.items() if _number(given, 0) > own}
    allowed = {kind: right for kind, right in wanted.items() if right <= own}
    return {**allowed, **kept}


def _default(levels: Mapping[str, Any], key: str) -> float:
    return _number(levels.get(key), _MISSING.get(key, OPERATOR_POWER))


def _number(value: object, default: float) -> float:
    """Read a level; rooms before version 10 may hold it as text."""
    if isinstance(value, bool):
        return default
    if isinstance(value, int | float):
        return value
    try:
        return int(value) if isinstance(value, str) else default
    except ValueError:
        return default


def _part(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    part = content.get(key)
    return part if isinstance(part, dict) else {}
