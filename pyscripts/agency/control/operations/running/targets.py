"""Interface of the targets of changes: what a command wishes of one, how it is, what mends it."""

from __future__ import annotations

from typing import Protocol

from agency.control.grammar.command import Command
from agency.control.wish import Wish
from agency.errors import AgencyError


class Targets(Protocol):
    """The targets of changes, by name."""

    async def wish(self, command: Command) -> Wish | None:
        """Return the wish that a command makes; None if it leaves that as it is."""

    async def asked(self, command: Command) -> Wish | None:
        """Return what a command asks for, however its target is; None if it has none."""

    async def recorded(self, target: str) -> Wish | None:
        """Return the wish on record; None if there is no such target."""

    async def remedy(self, target: str, trace: str) -> Command | None:
        """Return the command that brings a target to its wish; None if it is as wished."""

    async def observe(self, command: Command, trace: str) -> str:
        """Describe the present state of a command's target; empty if it has none."""


async def seen_of(targets: Targets, command: Command, trace: str) -> str:
    """Describe the present state of a command's target, or say why it cannot be observed."""
    try:
        return await targets.observe(command, trace)
    except AgencyError as error:
        return error.message
