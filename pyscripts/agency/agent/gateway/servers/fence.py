"""Fence around the tool servers of a gateway: places of the gateway that they do not see.

A server has the gateway's user. Its token, journal and accepted lists, the directories of other
servers, and whatever its runtime keeps beside it would be the server's, too.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from agency.agent.gateway.servers import landlock
from agency.errors import PrerequisiteError


@dataclass(frozen=True, slots=True)
class Fence:
    """Places that are hidden from a server, and those that it has although they lie in them."""

    hidden: frozenset[Path]
    opened: tuple[Path, ...] = ()

    def around(self, home: Path) -> Fence:
        """Return the fence of one server, whose own directory it is."""
        return Fence(self.hidden, (*self.opened, home))

    def prefix(self) -> tuple[str, ...]:
        """Return the argv that restricts itself and becomes what follows.

        Raises:
            PrerequisiteError: the kernel cannot; then nothing may be started.
        """
        if landlock.abi() < landlock.FILES_ABI:
            raise PrerequisiteError(
                "the kernel cannot keep it from the gateway's files (no Landlock)",
                hint="use Linux 5.19 or newer with landlock among its security modules (lsm=)",
            )
        told = {
            "hidden": sorted({os.path.realpath(each) for each in self.hidden}),
            "opened": [os.path.realpath(each) for each in self.opened],
        }
        return (sys.executable, "-I", "-S", landlock.__file__, json.dumps(told))


def fence_of(state: Path, *others: Path | None, more: Iterable[Path] = ()) -> Fence:
    """Make the fence of a gateway with this state; its credentials are hidden, too."""
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    found = {state, *(each for each in others if each is not None), *more}
    if credentials:
        found.add(Path(credentials))
    return Fence(frozenset(found))


def signals_are_kept() -> bool:
    """Return whether the kernel keeps a server's signals from the gateway."""
    return landlock.abi() >= landlock.SIGNALS_ABI
