"""What counts as a limit that holds."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.rows")


@pytest.mark.parametrize(("value", "ok", "within"), [(5.0, True, True), (5.1, False, True)])
def test_slack_forgives_and_still_calls_it_missed(
    rows: Any, value: float, ok: bool, within: bool
) -> None:
    row = rows.Row("n", value, "s", "b", 1.0, 5)
    assert (row.ok, row.within(1.4), row.within(1.0)) == (ok, within, ok)


def test_slack_has_an_end(rows: Any) -> None:
    assert not rows.Row("n", 7.1, "s", "b", 1.0, 5).within(1.4)


def test_a_limit_on_the_ratio_does_not_look_at_the_value(rows: Any) -> None:
    assert rows.Row("n", 60.0, "ms", "b", 50.0, 1.5, "ratio").ok
    assert not rows.Row("n", 80.0, "ms", "b", 50.0, 1.5, "ratio").ok


@pytest.mark.parametrize(
    ("value", "baseline", "slack", "holds"),
    [
        (24.0, 18.0, 1.4, True),  # four times as slow as usual: twice the limit
        (43.0, 18.0, 1.4, False),
        (24.0, 4.6, 1.4, False),  # the machine was as fast as usual
        (24.0, 18.0, 1.0, False),  # for an idle machine
        (14.0, 2.0, 1.4, True),  # a faster one has the same limit
        (22.0, 2.0, 1.4, False),
    ],
)
def test_a_machine_that_was_slow_in_the_same_run_has_more_time(
    rows: Any, value: float, baseline: float, slack: float, holds: bool
) -> None:
    row = rows.Row("n", value, "s", "b", baseline, 15, usual=4.6)
    assert row.within(slack) is holds
    assert rows.Row("n", value, "s", "b", baseline, 15).within(slack) is (value <= 15 * slack)
