"""Gate: calls in a minute and calls at one time, for each agent."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from agency.agent.proxy.refusals import Refusal
from agency.clock import Clock

_WINDOW_S = 60.0


@dataclass(slots=True)
class _Agent:
    begun: deque[float] = field(default_factory=deque)  # steady times within the window
    running: int = 0


@dataclass(slots=True)
class Gate:
    """Counts of calls in memory; a restart begins a new minute."""

    clock: Clock
    _agents: dict[str, _Agent] = field(default_factory=dict)

    @contextmanager
    def passing(self, agent: str, *, per_minute: int, at_once: int) -> Iterator[None]:
        """Let a call pass, and count it as running within the block.

        Raises:
            Refusal: it is one too many; it says when to try again, and does not count.
        """
        counts = self._agents.setdefault(agent, _Agent())
        now = self.clock.steady()
        while counts.begun and counts.begun[0] <= now - _WINDOW_S:
            counts.begun.popleft()
        if counts.running >= at_once:
            raise Refusal(
                429, "concurrency", f"{at_once} calls at one time are allowed", retry_after_s=1
            )
        if len(counts.begun) >= per_minute:
            oldest = counts.begun[len(counts.begun) - per_minute]
            wait = max(1, math.ceil(oldest + _WINDOW_S - now))
            raise Refusal(
                429, "rate", f"{per_minute} calls in a minute are allowed", retry_after_s=wait
            )
        counts.begun.append(now)
        counts.running += 1
        try:
            yield
        finally:
            counts.running -= 1

    @property
    def running(self) -> int:
        """Number of calls that run now."""
        return sum(each.running for each in self._agents.values())
