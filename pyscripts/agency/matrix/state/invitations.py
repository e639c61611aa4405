"""Invitations to the control room: which operators are invited, and whose invitation counts. Pure.

An operator who left, or was kicked, is invited again, once: who then declines is not asked again.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

from agency.matrix.state.snapshot import Snapshot


class Call(StrEnum):
    """Treatment of an operator who should be in the room."""

    PRESENT = "present"  # joined or invited
    INVITE = "invite"
    DECLINED = "declined"  # they declined the last invitation themselves
    BANNED = "banned"


def call(snapshot: Snapshot, operator: str, before: str) -> Call:
    """Decide how to treat an operator; `before` is the membership before the present one."""
    match snapshot.membership(operator):
        case "join" | "invite":
            return Call.PRESENT
        case "ban":
            return Call.BANNED
        case "leave" if before == "invite" and snapshot.members[operator].sender == operator:
            return Call.DECLINED
        case _:
            return Call.INVITE


def may_accept(snapshot: Snapshot, bot: str, operators: Collection[str]) -> bool:
    """Return whether the bot may join: an operator invited it."""
    found = snapshot.members.get(bot)
    return found is not None and found.membership == "invite" and found.sender in operators
