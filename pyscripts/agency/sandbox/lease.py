"""Lease: the right to use a machine until a given time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from agency.errors import UsageError

HOUR = 3600.0
SHORTEST_S = 60.0
LONGEST_S = 24 * HOUR

_TTL = re.compile(r"(\d{1,6})(s|m|h|d)\Z")
_UNITS = {"s": 1.0, "m": 60.0, "h": HOUR, "d": 24 * HOUR}


class State(StrEnum):
    """Stages of a lease."""

    CREATING = "creating"  # its maker holds the lock of its run
    READY = "ready"


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits for all leases of this machine together."""

    leases: int = 2
    memory_mb: int = 6144
    cpus: int = 4


@dataclass(frozen=True, slots=True)
class Size:
    """Limits for the machine of one lease."""

    memory_mb: int = 2048
    cpus: int = 2
    disk_gb: int = 8


@dataclass(frozen=True, slots=True)
class Lease:
    """One lease. Times are seconds since the epoch.

    `source` is as the request named it; `commit` is its commit then, if it is a git repository.
    """

    name: str
    source: str
    commit: str | None
    state: State
    created_at: float
    expires_at: float
    memory_mb: int
    cpus: int
    port: int | None  # on loopback

    @property
    def url(self) -> str | None:
        """Address of the machine, once it is ready."""
        return f"http://127.0.0.1:{self.port}" if self.port is not None else None

    @property
    def guest(self) -> str:
        """Name of the guest."""
        return f"agency-{self.name}"


def parse_ttl(text: str) -> float:
    """Parse a time to live such as 90s, 30m, 2h or 1d into seconds.

    Raises:
        UsageError: malformed, shorter than a minute or longer than a day.
    """
    match = _TTL.match(text)
    if match is None:
        raise UsageError(
            f"{text!r} is not a time to live", where="--ttl", hint="say 90s, 30m, 2h or 1d"
        )
    seconds = int(match[1]) * _UNITS[match[2]]
    if not SHORTEST_S <= seconds <= LONGEST_S:
        raise UsageError(
            f"{text} is too {'short' if seconds < SHORTEST_S else 'long'}",
            where="--ttl",
            hint="a lease lasts from a minute to a day; ask for a new one when it has ended",
        )
    return seconds
