"""Estimates for the queue, from the lengths of past runs. Pure."""

from __future__ import annotations

import heapq
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agency.recipes.record.run import Run, RunState

UNKNOWN_S = 600.0  # of a recipe without a past
PAST = 20  # runs of a recipe that count


def usual_seconds(past: Sequence[Run]) -> float | None:
    """Return the median length of runs that came to a result; None without one."""
    whole = [
        run.seconds
        for run in past
        if run.state in (RunState.PASSED, RunState.FAILED) and run.seconds is not None
    ]
    return statistics.median(whole[:PAST]) if whole else None


@dataclass(frozen=True, slots=True)
class Place:
    """Place of a run in the queue: 0 runs or is next; seconds until it starts and until it ends."""

    position: int
    starts_in_s: float
    ends_in_s: float


def places(
    running: Sequence[Run],
    queued: Sequence[Run],
    usual: Mapping[str, float],
    capacity: int,
    now_ts: int,
) -> dict[str, Place]:
    """Estimate when each run starts and ends, if each takes what its recipe usually does.

    A run that is over its usual time ends now, as far as this knows.
    """
    found: dict[str, Place] = {}
    slots = [0.0] * max(capacity - len(running), 0)
    for run in running:
        began = now_ts if run.started_ts is None else run.started_ts
        spent = max(0, now_ts - began) / 1000
        left = max(0.0, usual.get(run.order.recipe, UNKNOWN_S) - spent)
        found[run.id] = Place(0, 0.0, left)
        slots.append(left)
    heapq.heapify(slots)
    for position, run in enumerate(queued):
        start = heapq.heappop(slots) if slots else 0.0
        end = start + usual.get(run.order.recipe, UNKNOWN_S)
        heapq.heappush(slots, end)
        found[run.id] = Place(position, start, end)
    return found
