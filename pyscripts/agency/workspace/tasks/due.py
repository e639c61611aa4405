"""Due times of schedules, each once: also when the clock jumps, or nothing looked for long. Pure.

A mark says up to when a schedule was looked at, and which due times made tasks. If the clock went
back, the mark goes back with it; what had fired in the meantime does not fire again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field

from agency.workspace.tasks.cron import due_times, parse_cron
from agency.workspace.tasks.model import ScheduledTask

MOST_CAUGHT_UP = 20  # due times of one schedule that one look makes tasks of
MOST_FIRED = 2000  # due times that a mark remembers
_MOST_COUNTED = 10_000


class Mark(BaseModel):
    """Mark up to which a schedule was looked at."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    looked: datetime
    fired: list[datetime] = Field(default_factory=list, max_length=MOST_FIRED)


class Marks(BaseModel):
    """The marks of every schedule, by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    marks: dict[str, Mark] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Look:
    """Due times that make tasks, how many were passed over, and the marks from now on."""

    due: tuple[tuple[ScheduledTask, datetime], ...]
    passed_over: Mapping[str, int]
    marks: Marks


def look(schedules: Iterable[ScheduledTask], marks: Marks, now: datetime) -> Look:
    """Decide what is due at `now`; a schedule that is new is due from now on."""
    due: list[tuple[ScheduledTask, datetime]] = []
    passed: dict[str, int] = {}
    after: dict[str, Mark] = {}
    for schedule in schedules:
        mark = marks.marks.get(schedule.name) or Mark(looked=now)
        known = set(mark.fired)
        found = [
            moment
            for moment in itertools.islice(
                due_times(parse_cron(schedule.cron), mark.looked, now), _MOST_COUNTED
            )
            if moment not in known
        ]
        chosen = found[: 1 if schedule.missed == "last" else MOST_CAUGHT_UP]
        if len(found) > len(chosen):
            passed[schedule.name] = len(found) - len(chosen)
        due += [(schedule, moment) for moment in reversed(chosen)]
        # Of what was passed over, the clock may come by again; it is not made up for then.
        fired = sorted({*known, *found})[-MOST_FIRED:]
        after[schedule.name] = Mark(looked=now, fired=fired)
    return Look(tuple(due), passed, Marks(marks=after))


def name_at(schedule: ScheduledTask, moment: datetime) -> str:
    """Return the name of the task of a due time; equal due times have equal names."""
    return f"{schedule.name}-{moment.astimezone(UTC):%Y%m%d-%H%M}"
