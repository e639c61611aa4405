"""Time and identifiers as values that callers pass in, so that tests control them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Clock:
    """Wall time in seconds since the epoch (`wall`) and a steady clock for durations (`steady`)."""

    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic

    def utc(self) -> datetime:
        """Return wall time as a moment in UTC."""
        return datetime.fromtimestamp(self.wall(), tz=UTC)

    def now_ms(self) -> int:
        """Return wall time in whole milliseconds, the unit of Matrix timestamps."""
        return int(self.wall() * 1000)

    def now_iso(self) -> str:
        """Return wall time as RFC 3339 in UTC with milliseconds."""
        return iso(self.wall())


def iso(seconds: float) -> str:
    """Format seconds since the epoch as RFC 3339 in UTC with milliseconds and a trailing Z."""
    moment = datetime.fromtimestamp(seconds, tz=UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def new_id(prefix: str) -> str:
    """Make an identifier: the prefix, a dash and 80 random bits, in lower-case base 32 digits."""
    alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
    return prefix + "-" + "".join(secrets.choice(alphabet) for _ in range(16))
