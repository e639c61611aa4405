"""The times that a transcript gives must fit into the run that it tells of."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from agency.transcript.rules.v1.model import Predicate

# Moments are of the clock of day, durations of one that is never set: a correction of the first
# while a run lasts, and the rounding of both, are no contradiction.
SLACK_S = 1.0


def broken_times(predicate: Predicate) -> Iterator[str]:
    """Every time that cannot be: before the run, after it, or of a step before the last one."""
    started, finished = _seconds(predicate.started_at), _seconds(predicate.finished_at)
    if finished < started - SLACK_S:
        yield "finishedAt is before startedAt"
        return
    entries = [
        (f"the step {e.name}", _seconds(e.started_at), e.duration_s) for e in predicate.steps
    ]
    free = started
    for what, began, duration_s in entries:
        if began < free - SLACK_S:
            yield f"{what} began before it could"
        free = began + duration_s
    entries += [(f"the probe {e.name}", _seconds(e.at), e.duration_s) for e in predicate.probes]
    for what, began, duration_s in entries:
        if began < started - SLACK_S or began + duration_s > finished + SLACK_S:
            yield f"{what} was not between startedAt and finishedAt"


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()
