"""The sustained numbers and those of the audit log: limits, and a small run of the latter."""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


@pytest.mark.parametrize(("count", "ok"), [(80, True), (79, False), (0, False)])
def test_eight_tenths_of_the_echo_s_rate_is_enough(module: Any, count: int, ok: bool) -> None:
    sustained = module("sustained")
    rate, look = sustained.rows_of([(count, 10.0)], [(60, 6.0), (40, 4.0)], [0.1], [0.1])
    assert (rate.ok, look.ok) == (ok, True)


@pytest.mark.parametrize(("slowest", "ok"), [(0.2, True), (0.21, False)])
def test_the_slowest_look_is_at_most_twice_the_echo_s(
    module: Any, slowest: float, ok: bool
) -> None:
    looks = [0.05] * 90 + [slowest] * 10
    bare = [0.05] * 90 + [0.1] * 10
    _, look = module("sustained").rows_of([(1, 1.0)], [(1, 1.0)], looks, bare)
    assert look.ok is ok


def test_the_length_is_a_minute_or_as_it_is_said(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BENCH_SECONDS", raising=False)
    assert module("sustained").seconds() == 60
    monkeypatch.setenv("BENCH_SECONDS", "7")
    assert module("sustained").seconds() == 7


def test_a_small_log_is_filled_timed_and_verified(module: Any, tmp_path: Path) -> None:
    audit = module("audit")
    rows = {row.name: row for row in asyncio.run(audit._measure(tmp_path, 300, 20))}
    assert set(rows) == {"audit.append.p99", "audit.verify", "store.check_at_start"}
    assert all(row.value > 0 and row.baseline_value > 0 for row in rows.values())
    assert (rows["audit.append.p99"].limit, rows["audit.verify"].limit) == (3.0, 5.0)
