"""Due times of a schedule: five fields as in crontab(5), in UTC. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_DAY = timedelta(days=1)
# 29 February on a day of the week comes once in 28 years, or 40 around a year such as 2100.
_MOST_DAYS = 41 * 366


@dataclass(frozen=True, slots=True)
class Cron:
    """A schedule, as sets of numbers; Sunday is 0."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool

    def on_day(self, moment: datetime) -> bool:
        """Return whether it is due on that day; a day of either kind counts, if both are given."""
        if moment.month not in self.months:
            return False
        day = moment.day in self.days
        weekday = moment.isoweekday() % 7 in self.weekdays
        if self.any_day or self.any_weekday:
            return day and weekday
        return day or weekday


def parse_cron(text: str) -> Cron:
    """Parse a schedule that `agency.gosuto.Schedule` accepted."""
    fields = text.split(" ")
    minutes, hours, days, months, weekdays = (
        _numbers(field, *ends) for field, ends in zip(fields, _RANGES, strict=True)
    )
    return Cron(
        minutes=minutes,
        hours=hours,
        days=days,
        months=months,
        weekdays=frozenset(number % 7 for number in weekdays),
        any_day=fields[2].startswith("*"),
        any_weekday=fields[4].startswith("*"),
    )


def _numbers(field: str, least: int, most: int) -> frozenset[int]:
    ranges, _, step = field.partition("/")
    found: set[int] = set()
    for one in ranges.split(","):
        low, dash, high = one.partition("-")
        if one == "*":
            first, last = least, most
        else:
            first = int(low)
            last = int(high) if dash else (most if step else first)
        found |= set(range(first, last + 1, int(step or 1)))
    return frozenset(found)


def due_times(cron: Cron, after: datetime, until: datetime) -> Iterator[datetime]:
    """Yield the due times in (after, until], the newest first."""
    day = until.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for _ in range(_MOST_DAYS):
        if day + _DAY <= after:
            return
        if cron.on_day(day):
            for hour in sorted(cron.hours, reverse=True):
                for minute in sorted(cron.minutes, reverse=True):
                    moment = day.replace(hour=hour, minute=minute)
                    if after < moment <= until:
                        yield moment
        day -= _DAY
