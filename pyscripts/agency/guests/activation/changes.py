"""Results of an activation, done or only checked, as data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from agency.errors import LoggedError


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """One difference: `kind` is file, user, directory, secret, firewall or unit."""

    kind: str
    what: str
    before: str
    after: str

    def as_dict(self) -> dict[str, str]:
        """Convert the change to what `--json` prints."""
        return {"kind": self.kind, "what": self.what, "from": self.before, "to": self.after}


@dataclass(frozen=True, slots=True)
class UnitSeen:
    """A unit after the activation. `seconds` is how long its start took, None when it ran."""

    name: str
    active: str
    sub: str
    seconds: float | None = None


@dataclass(slots=True)
class Activation:
    """A whole activation: what differed, what was run, and what is now.

    `digests` are the SHA-256 of every file that was laid down, by its path below /. `ran` are the
    units that run at each activation and end.
    """

    changes: list[Change] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)
    units: list[UnitSeen] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Convert the activation to what `--json` prints."""
        return {
            "changed": bool(self.changes),
            "changes": [change.as_dict() for change in self.changes],
            "ran": self.ran,
            "units": [asdict(unit) for unit in self.units],
            "digests": self.digests,
            "seconds": round(self.seconds, 3),
        }


class ActivationError(LoggedError):
    """The machine could not be brought to its definitions; the log holds why."""
