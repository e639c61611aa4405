"""Reader of a comment: whether it is a command, and which. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from agency.recipes.outcome import STAGES

WORD = "!testme"
STOP = "stop"
_MOST_CHARACTERS = 4096
# One break a turn: with several, a comment of forty takes longer than anybody waits.
# Four spaces or a tab make a block of code of it.
_COMMAND = re.compile(
    rf"(?:[ ]{{0,3}}[\r\n])*[ ]{{0,3}}{WORD}"
    r"(?:[ \t]+(?P<names>[A-Za-z0-9_-]{1,40}(?:[ \t]*,[ \t]*[A-Za-z0-9_-]{1,40}){0,15}))?\s*\Z"
)
_BOT = re.compile(r"(?:.*[-_]bot|.*\[bot\]|(?:project|group)_\d+_bot.*|gitea-actions)\Z", re.I)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Command to test; the stages are in their order, each once."""

    stages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stop:
    """Command to stop what is queued or runs of the pull request."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Command with words that are no stages."""

    words: tuple[str, ...]


Command = Wanted | Stop | Unknown


def read_comment(text: str) -> Command | None:
    """Read a comment; None if it is no command, which has nothing around it but white space.

    A longer text than a command needs is none, whatever it says.
    """
    found = _COMMAND.match(text) if len(text) <= _MOST_CHARACTERS else None
    if found is None:
        return None
    if found["names"] is None:
        return Wanted(STAGES)
    names = tuple(name.strip() for name in found["names"].split(","))
    if names == (STOP,):
        return Stop()
    unknown = tuple(dict.fromkeys(name for name in names if name not in STAGES))
    if unknown:
        return Unknown(unknown)
    return Wanted(tuple(stage for stage in STAGES if stage in names))


def is_bot(account: int, name: str) -> bool:
    """Return whether an account is a program's, as far as its id and name tell."""
    return account <= 0 or _BOT.match(name) is not None
