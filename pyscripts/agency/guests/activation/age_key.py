"""The one out-of-band secret: the age key, put on a machine by one step.

By hand the step is `install -D -m 0400 KEY /var/lib/agency/age.key`, on any machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from agency.secrets import SecretValue

AGE_KEY_FILE = Path("/var/lib/agency/age.key")
_TIMEOUT_S = 20.0


class Runs(Protocol):
    """A machine on which a program can be run with something on its standard input."""

    async def run(self, *argv: str, stdin: bytes = b"", timeout_s: float = _TIMEOUT_S) -> bytes:
        """Run a program that must succeed; returns its standard output."""


async def put_age_key(machine: Runs, identity: SecretValue) -> None:
    """Put the key of a run on a machine, for root alone; it travels by standard input."""
    target = str(AGE_KEY_FILE)
    # Empty first, with its mode; `install` cannot open a pipe that another user made.
    await machine.run("install", "-D", "-m", "0400", "/dev/null", target)
    await machine.run(
        "dd", f"of={target}", "status=none", stdin=identity.reveal().encode(), timeout_s=_TIMEOUT_S
    )
