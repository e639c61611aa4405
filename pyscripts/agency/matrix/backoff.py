"""Waits between attempts, as a pure function of the attempt and a random number."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

LONGEST_S = 300.0  # whatever the other side asks for


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential back-off, with jitter over the upper half to spread the clients."""

    first_s: float = 0.25
    longest_s: float = 60.0
    jitter: Callable[[], float] = random.random

    def delay_s(self, attempt: int, asked_s: float | None = None) -> float:
        """Return the seconds to wait after the `attempt`-th failure (from 1).

        `asked_s` is the server's Retry-After; the wait is at least that long, up to 5 minutes.
        """
        whole = min(self.first_s * 2.0 ** min(attempt - 1, 30), self.longest_s)
        own = whole * (0.5 + self.jitter() / 2)
        return own if asked_s is None else max(own, min(asked_s, LONGEST_S))
