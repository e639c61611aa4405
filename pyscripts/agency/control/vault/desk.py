"""The vault as commands use it: with the links and the waiting values that bring values in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agency.control.vault.forms import Forms
from agency.control.vault.values import SecretType, Waiting, checked
from agency.control.vault.vault import Vault, Wanted


@dataclass(frozen=True, slots=True)
class Report:
    """State of an agent's secrets after a push: what it holds, or why it could not be delivered."""

    agent: str
    held: tuple[tuple[str, int], ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class SecretDesk:
    """The parts behind the commands of the noun `secrets`.

    `push` delivers an agent its secrets now; `held` asks what it holds.
    """

    vault: Vault
    forms: Forms
    waiting: Waiting
    push: Callable[[str, str], Awaitable[Report]]

    async def enter(self, wanted: Wanted, operation: str, trace: str) -> str | None:
        """Store the value that came with an operation; without one, return a link to enter it.

        Raises:
            RefusalError: the value is not one of the type, or another version came first.
        """
        text = self.waiting.take(operation)
        if text is None:
            return await self.forms.link(wanted, trace)
        await self.vault.put(wanted, checked(SecretType(wanted.type), text))
        return None

    async def describe(self, name: str) -> str:
        """Say which version of a secret there is: after a command that was interrupted."""
        for each in await self.vault.listed():
            if each.secret.name == name:
                bound = ", ".join(each.agents) or "no agent"
                return f"{name} has version {each.secret.version}, for {bound}"
        return f"there is no secret {name}"
