"""Timesheet of a run: how long its main thread waited for child processes, and for the app.

The rest of a run's wall clock is the harness's own. What is nested counts once, by its outermost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from agency.clock import Clock
from agency.recipes.facts import Times


@dataclass(slots=True)
class Timesheet:
    """Sums by a run's clock. One thread writes it."""

    clock: Clock
    _sums: dict[str, float] = field(default_factory=lambda: {"programs": 0.0, "waits": 0.0})
    _counts: bool = True

    @contextmanager
    def program(self) -> Iterator[None]:
        """Count the block as time in a child process."""
        with self._count("programs"):
            yield

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the block as a wait until the swarm or the app is as it shall be."""
        with self._count("waits"):
            yield

    def times(self) -> Times:
        """Return the sums."""
        return Times(self._sums["programs"], self._sums["waits"])

    @contextmanager
    def _count(self, kind: str) -> Iterator[None]:
        if not self._counts:
            yield
            return
        self._counts, began = False, self.clock.steady()
        try:
            yield
        finally:
            self._sums[kind] += self.clock.steady() - began
            self._counts = True
