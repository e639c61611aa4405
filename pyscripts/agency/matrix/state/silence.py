"""Silence of the bot: whether the state of a room lets it answer, and who can mend that. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from agency.matrix.state.powers import level, needed
from agency.matrix.state.snapshot import Snapshot

_MESSAGE = "m.room.message"
_GONE = {
    "ban": "was banned from the control room",
    "leave": "is no longer in the control room",
    "invite": "is invited to the control room, and has not joined it",
    "knock": "has asked to join the control room",
    "": "is not in the control room",
}


@dataclass(frozen=True, slots=True)
class Silence:
    """Reason why the bot cannot answer in a room, or cannot read what is said, and its remedy."""

    text: str
    hint: str
    encrypted: bool = False


def silence(snapshot: Snapshot, bot: str) -> Silence | None:
    """Return why the bot cannot hear and answer in the room; None if it can."""
    membership = snapshot.membership(bot)
    if membership != "join":
        by = snapshot.members[bot].sender if bot in snapshot.members else ""
        told = f", by {by}" if by not in ("", bot) else ""
        text = f"the bot {_GONE.get(membership, _GONE[''])}{told}"
        first = f"unban {bot}, then " if membership == "ban" else ""
        return Silence(text, f"{first}let an operator invite {bot} to the control room")
    if snapshot.encrypted:
        return Silence(
            "the control room is encrypted, so the bot cannot read what is said there",
            "encryption cannot be switched off: replace the room, as docs/control-room.md says",
            encrypted=True,
        )
    if level(snapshot, bot) < needed(snapshot, _MESSAGE, is_state=False):
        return Silence(
            "the bot may not speak in the control room: its power level is too low",
            f"give {bot} power 100 in the control room",
        )
    server = bot.partition(":")[2]
    if snapshot.denies(server):
        return Silence(
            f"the control room's access list keeps {server} out",
            f"allow {server} in m.room.server_acl of the control room",
        )
    return None
