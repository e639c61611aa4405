"""Patience with a part that fails: longer and longer waits, and each fault told once."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_S = 1.0
MOST_S = 60.0


@dataclass(slots=True)
class Patience:
    """Failures in a row, and when the next attempt is due on the steady clock."""

    failures: int = 0
    due: float = 0.0
    _told: str = ""

    def failed(self, now: float, fault: str) -> bool:
        """Wait twice as long as before; return whether this fault was not told before."""
        self.due = now + min(MOST_S, FIRST_S * 2**self.failures)
        self.failures = min(self.failures + 1, 30)
        fresh, self._told = fault != self._told, fault
        return fresh

    def worked(self) -> bool:
        """Forget the failures; return whether there were any."""
        had = self.failures > 0
        self.failures, self.due, self._told = 0, 0.0, ""
        return had
