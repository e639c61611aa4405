"""Succession of the control room: whether a room that says so really replaces it. Pure.

Source: Matrix specification 1.16, "Room upgrades".
"""

from __future__ import annotations

from collections.abc import Collection

from agency.matrix.state.snapshot import Snapshot


def is_announced(old: Snapshot, successor: str, alias_names: str | None) -> str | None:
    """Return why the bot should not even enter a successor; None if it may.

    The tombstone needs the power to set state in the old room, and the alias belongs to the
    agency: both must name the same room.
    """
    if not old.replacement:
        return "the old room has no tombstone"
    if old.replacement != successor:
        return f"the tombstone names {old.replacement}"
    if alias_names != successor:
        return "the alias of the control room does not name it"
    return None


def objection(
    old_id: str, old: Snapshot, new: Snapshot, bot: str, operators: Collection[str]
) -> str | None:
    """Return why a room, seen from inside, is no successor; None if it is one.

    Anybody can make a room that names another one as its predecessor, so its creator counts: the
    bot, an operator, or whoever had the power to send the tombstone.
    """
    if new.predecessor != old_id:
        return "it does not name the old room as its predecessor"
    if new.creator not in {bot, old.replaced_by, *operators}:
        return f"it was made by {new.creator or 'nobody known'}"
    return None
