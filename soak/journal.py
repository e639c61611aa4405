"""Journal of a run: what was said, when it was answered, and what was done to the parts."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from soak.plan import Step

GRACE_S = 5.0  # after a part is well again, an answer may still tell of its absence


@dataclass(slots=True)
class Said:
    """One command in the room. `place` is the root of the thread where its answer belongs."""

    step: Step
    sent: float
    event_id: str
    place: str
    redacted: bool = False


@dataclass(frozen=True, slots=True)
class Trouble:
    """A time in which a part was ended, paused or not well."""

    part: str
    what: str
    begun: float
    ended: float

    def meets(self, begun: float, ended: float) -> bool:
        """Return whether it overlaps a time."""
        return self.begun <= ended and begun <= self.ended + GRACE_S


@dataclass(slots=True)
class Journal:
    """Everything that happened, in order, also as a file for people."""

    path: Path
    said: list[Said] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    begun: float = field(default_factory=time.time)

    def note(self, what: str, **facts: Any) -> None:
        """Append a line to the file."""
        line = {"at_s": round(time.time() - self.begun, 3), "what": what, **facts}
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def trouble(self, part: str, what: str, begun: float) -> None:
        """Record a trouble that has ended now."""
        self.troubles.append(Trouble(part, what, begun, time.time()))
        self.note("trouble", part=part, how=what, for_s=round(time.time() - begun, 3))

    def met(self, begun: float, ended: float) -> list[Trouble]:
        """List the troubles that overlap a time."""
        return [each for each in self.troubles if each.meets(begun, ended)]
