"""How long to wait before trying again, as a pure function of the attempt and a random number."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

LONGEST_S = 300.0  # whatever the other side asks for


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential, with jitter over the upper half, so that a herd does not return as one."""

    first_s: float = 0.25
    longest_s: float = 60.0
    jitter: Callable[[], float] = random.random

    def delay_s(self, attempt: int, asked_s: float | None = None) -> float:
        """Seconds to wait after the `attempt`-th failure (from 1).

        `asked_s` is what the other side asked for (Retry-After); it is kept to, up to 5 minutes.
        """
        whole = min(self.first_s * 2.0 ** min(attempt - 1, 30), self.longest_s)
        own = whole * (0.5 + self.jitter() / 2)
        return own if asked_s is None else max(own, min(asked_s, LONGEST_S))
