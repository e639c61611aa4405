"""Words for people: ages, lengths, shares, states. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from agency.recipes.dashboard.views.flakiness import Flakiness
from agency.recipes.record.run import RunState

NONE = "\u2013"
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
# Shape and word say it; the colour repeats it.
SIGNS = {
    RunState.QUEUED: "…",
    RunState.RUNNING: "▶",
    RunState.PASSED: "✓",
    RunState.FAILED: "✗",
    RunState.ERROR: "!",
    RunState.TIMED_OUT: "✗",
    RunState.CANCELLED: NONE,
    RunState.REPLACED: NONE,
}
OUTCOME_SIGNS = {"pass": "✓", "fail": "✗", "skip": NONE, "error": "!", "unknown": "?"}


def length(seconds: float | None) -> str:
    """Say a length of time; a dash for none."""
    if seconds is None:
        return NONE
    whole = int(seconds)
    if whole < _MINUTE:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"


def age(then_ts: int | None, now_ts: int) -> str:
    """Say how long ago a moment was; a dash for none."""
    if then_ts is None:
        return NONE
    seconds = (now_ts - then_ts) // 1000
    if seconds < _MINUTE:
        return "just now"
    for unit, name in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute")):
        if seconds >= unit:
            number = seconds // unit
            return f"{number} {name}{'s' * (number != 1)} ago"
    raise AssertionError(seconds)


def moment(ts: int | None) -> str:
    """Say a moment in UTC; a dash for none."""
    return NONE if ts is None else f"{datetime.fromtimestamp(ts / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def machine_moment(ts: int) -> str:
    """Write a moment as `datetime` of HTML takes it."""
    return f"{datetime.fromtimestamp(ts / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def size(number: int) -> str:
    """Say a number of bytes."""
    value = float(number)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError(number)


def flaky(found: Flakiness) -> str:
    """Say a flakiness in one word; a dash where nothing was repeated."""
    return NONE if found.share is None else f"{round(found.share * 100)} %"


def flaky_in_full(found: Flakiness) -> str:
    """Say what a flakiness was counted from."""
    runs = f"{found.judged} run{'s' * (found.judged != 1)}"
    changed = f"{found.changes} change{'s' * (found.changes != 1)} of verdict in the last {runs}"
    if not found.repeats:
        return f"{changed}; no commit was tested twice"
    return f"{found.disagreeing} of {found.repeats} repeats of a commit disagree; {changed}"
