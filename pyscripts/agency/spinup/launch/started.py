"""Facts about the copy that runs, which the launcher leaves beside it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agency.spinup.launch.kept import broken_kept

FACTS = "program.json"


@dataclass(frozen=True, slots=True)
class Started:
    """A copy of the program, as it was made; `commands` is where its console scripts are.

    `lock` is the inherited descriptor by which other spin-ups know that it is in use.
    """

    place: Path
    lock: int
    digests: Mapping[str, str]
    libraries: str
    kept: Path
    commands: Path

    def to_json(self) -> str:
        """Describe it for the process that becomes the copy."""
        return json.dumps(asdict(self), default=str)

    def libraries_problem(self) -> str | None:
        """Return the reason why the libraries are not those that were digested, or None."""
        broken = broken_kept(self.kept)
        if broken is None:
            return None
        return f"the library file {broken} was changed, so the digest does not say what ran"

    def remove(self) -> None:
        """Remove the copy; what runs stays in memory."""
        shutil.rmtree(self.place, ignore_errors=True)


def started() -> Started | None:
    """Return the copy that this process runs from; None where it runs from the installed files."""
    facts = Path(sys.prefix).parent / FACTS
    if not facts.is_file():
        return None
    found: dict[str, Any] = json.loads(facts.read_text())
    for name in ("place", "kept", "commands"):
        found[name] = Path(found[name])
    return Started(**found)


def hold() -> Started | None:
    """Return the copy as `started` does, and keep its lock from the programs that are run."""
    copy = started()
    if copy is not None:
        os.set_inheritable(copy.lock, False)
    return copy
