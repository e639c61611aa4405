"""Silence of the bot: whether the state of a room lets it answer, and who can mend that. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from agency.matrix.rooms import CONTROL_ROOM
from agency.matrix.state.powers import level, needed
from agency.matrix.state.snapshot import Snapshot

_MESSAGE = "m.room.message"
_GONE = {
    "ban": "was banned from the {title}",
    "leave": "is no longer in the {title}",
    "invite": "is invited to the {title}, and has not joined it",
    "knock": "has asked to join the {title}",
    "": "is not in the {title}",
}


@dataclass(frozen=True, slots=True)
class Silence:
    """Reason why the bot cannot answer in a room, or cannot read what is said, and its remedy."""

    text: str
    hint: str
    encrypted: bool = False


def silence(snapshot: Snapshot, bot: str, title: str = CONTROL_ROOM.title) -> Silence | None:
    """Return why the bot cannot hear and answer in the room; None if it can.

    `title` is what people call the room.
    """
    membership = snapshot.membership(bot)
    if membership != "join":
        by = snapshot.members[bot].sender if bot in snapshot.members else ""
        told = f", by {by}" if by not in ("", bot) else ""
        text = f"the bot {_GONE.get(membership, _GONE['']).format(title=title)}{told}"
        first = f"unban {bot}, then " if membership == "ban" else ""
        return Silence(text, f"{first}let an operator invite {bot} to the {title}")
    if snapshot.encrypted:
        return Silence(
            f"the {title} is encrypted, so the bot cannot read what is said there",
            "encryption cannot be switched off: replace the room, as docs/control-room.md says",
            encrypted=True,
        )
    if level(snapshot, bot) < needed(snapshot, _MESSAGE, is_state=False):
        return Silence(
            f"the bot may not speak in the {title}: its power level is too low",
            f"give {bot} power 100 in the {title}",
        )
    server = bot.partition(":")[2]
    if snapshot.denies(server):
        return Silence(
            f"the {title}'s access list keeps {server} out",
            f"allow {server} in m.room.server_acl of the {title}",
        )
    return None
