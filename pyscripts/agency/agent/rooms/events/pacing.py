"""Pace of what an agent says: pure, over the times of what it said within a minute."""

from __future__ import annotations

from collections.abc import Sequence

WINDOW_MS = 60_000


def wait_ms(said: Sequence[int], limit: int, now: int) -> int:
    """Return how long to wait before the next message; `said` are the times of earlier ones.

    A time that lies ahead counts as now: the clock was put back since the inbox was asked, which
    keeps no such time.
    """
    recent = sorted(min(each, now) for each in said if each > now - WINDOW_MS)
    if len(recent) < limit:
        return 0
    return recent[len(recent) - limit] + WINDOW_MS - now


def may_tell(said: Sequence[int], limit: int, now: int) -> bool:
    """Return whether progress may be told: half of the messages are kept for answers."""
    return len([each for each in said if each > now - WINDOW_MS]) < limit // 2
