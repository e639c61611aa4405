"""Pace of the calls: waits that grow while a project fails, and the forge's wish to be left alone.

Durations are those of a steady clock, so that a jump of the wall clock changes none of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

FOR_ALL_CALLS = frozenset({401, 429})  # answers about the token's calls, not about one of them
LONGEST_S = 300.0
_JITTER = 0.2


@dataclass(slots=True)
class Backoff:
    """Wait before the next attempt: `base_s`, doubled by each failure in a row."""

    base_s: float
    steady: Callable[[], float]
    spread: Callable[[], float] = random.random
    failures: int = 0
    until: float = 0.0

    def failed(self) -> float:
        """Note a failure; returns the wait."""
        self.failures = min(self.failures + 1, 16)
        longest = max(LONGEST_S, self.base_s)
        wait_s = min(self.base_s * float(1 << (self.failures - 1)), longest)
        wait_s *= 1 + _JITTER * (self.spread() - 0.5)
        self.until = self.steady() + wait_s
        return wait_s

    def succeeded(self) -> None:
        """Note a success."""
        self.failures, self.until = 0, 0.0

    @property
    def waits(self) -> bool:
        """True before the end of the wait."""
        return self.steady() < self.until


@dataclass(slots=True)
class Quiet:
    """Time in which the forge wants no call at all."""

    steady: Callable[[], float]
    longest_s: float = 3600.0
    until: float = 0.0

    def ask(self, after_s: float | None) -> None:
        """Note a wish; without a time, none."""
        if after_s is not None:
            self.until = max(self.until, self.steady() + min(max(after_s, 0.0), self.longest_s))

    @property
    def left_s(self) -> float:
        """Seconds that are left."""
        return max(0.0, self.until - self.steady())


@dataclass(slots=True)
class Bucket:
    """Bucket of tokens: `rate` a second, `burst` at once."""

    rate: float
    burst: float
    steady: Callable[[], float]
    _level: float = field(init=False)
    _at: float = field(init=False)

    def __post_init__(self) -> None:
        self._level, self._at = self.burst, self.steady()

    def take(self) -> bool:
        """Take a token, if there is one."""
        now = self.steady()
        self._level = min(self.burst, self._level + (now - self._at) * self.rate)
        self._at = now
        if self._level < 1:
            return False
        self._level -= 1
        return True
