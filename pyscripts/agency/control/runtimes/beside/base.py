"""Seams of the programs beside an agent's ACP process.

runtime ── open, close ──▶ Beside (crew.py) ── log_in, log_out ──▶ Accounts (accounts.py)
                               └── kept processes (kept.py): gateway, rooms
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agency.secrets import SecretValue


@dataclass(frozen=True, slots=True)
class Occupant:
    """Agent that runs under a name of its runtime: its own, or that of its slot."""

    name: str
    user: str  # its Matrix id


class Beside(Protocol):
    """Programs that run as long as one agent's ACP process does."""

    @property
    def gateway_socket(self) -> Path:
        """Control socket of the tool gateway, below the agent's directory, where ACP runs."""

    async def open(self, credentials: Path) -> None:
        """Make all tokens anew and begin the programs; ACP finds its own in `credentials`.

        Raises:
            AgencyError: a file cannot be written.
        """

    async def close(self, timeout_s: float) -> None:
        """End the programs, within that time each, and make their tokens worthless."""

    def pids(self) -> tuple[int, ...]:
        """List the programs that run."""

    def secrets(self) -> tuple[SecretValue, ...]:
        """List the tokens that the programs hold."""


# Of an agent, by its name and directory; None where it has no program.
Besides = Callable[[str, Path, str], Beside | None]


def nothing_beside(_name: str, _directory: Path, _marker: str) -> Beside | None:
    """Return None: the agent has no program."""
    return None


class Accounts(Protocol):
    """Accounts of agents at the homeserver."""

    async def log_in(self, agent: str) -> SecretValue:
        """Make the account where it is missing, and return a new access token of it.

        Raises:
            AgencyError: the homeserver refused or did not answer.
        """

    async def counts(self, token: SecretValue) -> bool:
        """Return whether the homeserver still takes a token.

        Raises:
            AgencyError: the homeserver did not answer.
        """

    async def log_out(self, token: SecretValue) -> None:
        """Make a token worthless, and all others of its device.

        Raises:
            AgencyError: the homeserver refused or did not answer.
        """
