"""The one out-of-band secret: the age key, put on a machine by one step.

By hand the step is `install -D -m 0400 KEY /var/lib/agency/age.key`, on any machine.
"""

from __future__ import annotations

from pathlib import Path

from agency.machine import Machine, run
from agency.secrets import SecretValue

AGE_KEY_FILE = Path("/var/lib/agency/age.key")


async def put_age_key(machine: Machine, identity: SecretValue) -> None:
    """Put the key of a run on a machine, for root alone; it travels by standard input."""
    target, key = str(AGE_KEY_FILE), identity.reveal().encode()
    # Empty first, with its mode; `install` cannot open a pipe that another user made.
    await run(machine, "install", "-D", "-m", "0400", "/dev/null", target)
    await run(machine, "dd", f"of={target}", "status=none", stdin=key)
