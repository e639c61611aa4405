"""Schedules: when they are due, and each due time once, whatever the clock does."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agency.workspace.tasks.cron import due_times, parse_cron
from agency.workspace.tasks.due import MOST_CAUGHT_UP, Marks, look, name_at
from agency.workspace.tasks.model import ScheduledTask

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)  # a Thursday
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def due(cron: str, after: datetime, until: datetime) -> list[str]:
    found = [f"{one:%Y-%m-%d %H:%M}" for one in due_times(parse_cron(cron), after, until)]
    assert found == sorted(found, reverse=True)
    return found[::-1]


@pytest.mark.parametrize(
    ("cron", "days", "wanted"),
    [
        ("0 7 * * 1-5", 5, ["01-01 07:00", "01-02 07:00", "01-05 07:00"]),
        ("30 8,20 2 * *", 3, ["01-02 08:30", "01-02 20:30"]),
        ("0 0 3 * 0", 7, ["01-03 00:00", "01-04 00:00"]),  # either kind of day, crontab(5)
        ("0 0 * * 7", 7, ["01-04 00:00"]),
        ("*/30 5-6 1 * *", 2, ["01-01 05:00", "01-01 05:30", "01-01 06:00", "01-01 06:30"]),
        ("5/20 4 1 1 *", 2, ["01-01 04:05", "01-01 04:25", "01-01 04:45"]),
        ("0 0 31 2 *", 400, []),
        ("0 12 */2 * 5", 9, ["01-09 12:00"]),  # with a star, both kinds of day
    ],
)
def test_due_times(cron, days, wanted):
    found = due(cron, NEW_YEAR, NEW_YEAR + days * DAY)
    assert [one.removeprefix("2026-") for one in found] == wanted


def test_a_leap_day_is_found_years_ahead():
    found = due("0 0 29 2 *", NEW_YEAR, datetime(2033, 1, 1, tzinfo=UTC))
    assert found == ["2028-02-29 00:00", "2032-02-29 00:00"]


def test_the_first_moment_is_left_out_and_the_last_is_in():
    assert due("0 * * * *", NEW_YEAR, NEW_YEAR + HOUR) == ["2026-01-01 01:00"]


def hourly(missed: str = "last", cron: str = "0 * * * *") -> ScheduledTask:
    return ScheduledTask(name="digest", cron=cron, description="Write it.", missed=missed)


class Looks:
    """One look after the other, with the marks kept."""

    def __init__(self, schedule: ScheduledTask, start: datetime = NEW_YEAR) -> None:
        self.schedule, self.marks = schedule, Marks()
        self.passed = 0
        assert self.at(start) == []

    def at(self, now: datetime) -> list[str]:
        found = look([self.schedule], self.marks, now)
        self.marks = Marks.model_validate_json(found.marks.model_dump_json())
        self.passed += sum(found.passed_over.values())
        return [name_at(schedule, moment) for schedule, moment in found.due]


def test_a_new_schedule_is_due_from_now_on_and_once_each_time():
    looks = Looks(hourly())
    assert looks.at(NEW_YEAR + HOUR) == ["digest-20260101-0100"]
    assert looks.at(NEW_YEAR + HOUR) == []
    assert looks.at(NEW_YEAR + HOUR + HOUR / 2) == []


def test_after_a_long_sleep_the_last_due_time_counts_and_the_rest_is_told():
    looks = Looks(hourly())
    assert looks.at(NEW_YEAR + 10 * DAY) == ["digest-20260111-0000"]
    assert looks.passed == 239


def test_after_a_long_sleep_all_can_be_made_up_for_within_a_bound():
    looks = Looks(hourly("all"))
    assert len(looks.at(NEW_YEAR + 5 * HOUR)) == 5
    assert len(looks.at(NEW_YEAR + 10 * DAY)) == MOST_CAUGHT_UP
    assert looks.passed == 240 - 5 - MOST_CAUGHT_UP


def test_a_clock_that_jumps_ahead_and_back_neither_repeats_nor_stops_a_schedule():
    looks = Looks(hourly())
    assert looks.at(NEW_YEAR + 5 * HOUR) == ["digest-20260101-0500"]
    assert looks.at(NEW_YEAR + HOUR / 2) == []  # back
    assert [looks.at(NEW_YEAR + hour * HOUR) for hour in range(1, 8)] == [
        [], [], [], [], [], ["digest-20260101-0600"], ["digest-20260101-0700"],
    ]  # fmt: skip


def test_a_clock_years_ahead_and_back_does_not_stop_a_schedule():
    looks = Looks(hourly(cron="* * * * *"))
    assert looks.at(datetime(2099, 1, 1, tzinfo=UTC)) == ["digest-20990101-0000"]
    assert looks.at(NEW_YEAR) == []
    assert looks.at(NEW_YEAR + HOUR) == ["digest-20260101-0100"]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(-72 * 60, 72 * 60), max_size=30), st.sampled_from(["last", "all"]))
def test_no_due_time_comes_twice_whatever_the_clock_does(jumps, missed):
    looks, now, seen = Looks(hourly(missed)), NEW_YEAR, []
    for jump in jumps:
        now += timedelta(minutes=jump)
        seen += looks.at(now)
    assert len(seen) == len(set(seen))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 59), min_size=1, max_size=60))
def test_a_clock_that_only_goes_on_misses_no_hour_when_looked_at_often(steps):
    looks, now, seen = Looks(hourly()), NEW_YEAR, []
    for step in steps:
        now += timedelta(minutes=step)
        seen += looks.at(now)
    hours = int((now - NEW_YEAR) / HOUR)
    assert seen == [f"digest-{NEW_YEAR + (n + 1) * HOUR:%Y%m%d-%H%M}" for n in range(hours)]
