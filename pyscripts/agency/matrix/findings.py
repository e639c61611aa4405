"""Findings about a room of the bot: what could not be made as it should be, and why. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agency.matrix.errors import MatrixError


class Lack(StrEnum):
    """Kinds of findings; each is the value of a `Code` of the control plane's conditions."""

    AGENT = "agent-absent"
    OPERATOR = "operator-absent"
    POWER = "power-lacking"
    ALIAS = "alias-lost"
    SILENCE = "bot-silenced"
    ENCRYPTED = "room-encrypted"
    REPLACED = "room-replaced"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a room lacks; `subject` is the user, room or alias.

    One that `blocks` keeps commands from getting through.
    """

    lack: Lack
    subject: str
    text: str
    hint: str
    blocks: bool = False


@dataclass(frozen=True, slots=True)
class RoomState:
    """A room as it is after it was set up, and what it lacks.

    `predecessor` is the room that it replaced; empty if it is the first.
    """

    id: str
    findings: tuple[Finding, ...] = ()
    predecessor: str = ""


class RoomLostError(MatrixError):
    """A control room that the bot cannot enter; no command gets through until that is mended."""


def member_hint(error: MatrixError, user: str, title: str) -> str:
    """Return what mends a refused invitation or join, from the homeserver's reason."""
    if error.errcode == "M_BAD_STATE" or "banned" in error.message.lower():
        return f"unban {user} in the {title}"
    if error.status == 429:
        return ""  # it is tried again
    if error.errcode == "M_EXCLUSIVE":
        return "run `agency render`, and restart the homeserver: its registration is older"
    if error.status == 403:
        return f"give the bot the power to invite in the {title}, or invite {user} yourself"
    if error.status in (404, 502, 504) or error.status is None:
        return f"check that the homeserver of {user} is reachable and knows this user"
    return "the homeserver's log says more"


def entry_hint(error: MatrixError, bot: str, title: str) -> str:
    """Return what mends a room that the bot may not enter."""
    if "banned" in error.message.lower():
        return f"unban {bot} in the {title}, and invite it"
    return f"invite {bot} to the {title}, or point the alias at a room that it is in"
