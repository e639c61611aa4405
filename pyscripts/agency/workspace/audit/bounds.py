"""Every bound of the audit log's service, and the rate limit of a sender."""

from __future__ import annotations

from dataclasses import dataclass

from agency.clock import Clock

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of the service for one agent and for all together. Sizes are bytes."""

    rate_per_s: float = 10.0
    burst: int = 100
    connections_per_uid: int = 8
    connections: int = 64
    idle_s: float = 60.0
    file_bytes: int = 8 * 1024 * 1024
    agent_bytes: int = 1024 * 1024 * 1024
    # Below this the log takes no more events, so that there is room for the service's own records.
    free_bytes: int = 16 * 1024 * 1024
    housekeeping_s: float = 3600.0


class Bucket:
    """A token bucket: `burst` events at once, `rate_per_s` in the long run."""

    def __init__(self, bounds: Bounds, clock: Clock) -> None:
        self._bounds = bounds
        self._clock = clock
        self._level = float(bounds.burst)
        self._seen = clock.steady()

    def take(self) -> bool:
        """Count one more event; return False if it must wait."""
        now = self._clock.steady()
        gained = (now - self._seen) * self._bounds.rate_per_s
        self._level = min(float(self._bounds.burst), self._level + gained)
        self._seen = now
        if self._level < 1:
            return False
        self._level -= 1
        return True
