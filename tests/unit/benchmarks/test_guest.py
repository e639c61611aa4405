"""The guest's numbers, from a transcript's evidence."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import click
import pytest

ROOT = Path(__file__).resolve().parents[3]
WHOLE = ("agent-developer", "agent-pm", "control", "homeserver")


@pytest.fixture
def guest(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.guest")


def predicate(memory: float, running: tuple[str, ...] = WHOLE) -> dict[str, Any]:
    seen = [{"name": name, "pid": 1, "rssMb": 1.0} for name in running]
    return {
        "probes": [
            {"name": "guest.running", "evidence": {"runningAfterS": 3.5}},
            {"name": "activation.again", "durationS": 1.5, "evidence": {"seconds": 1.0}},
            {
                "name": "system.processes",
                "evidence": {"machine": {"memoryMb": memory}, "running": seen},
            },
        ]
    }


def test_each_number_has_its_limit_and_a_baseline_of_the_same_run(guest: Any) -> None:
    bare = guest.Bare(running_s=3.0, total_s=7.0, start_again_s=0.1, memory_mb=20.0)
    rows = {row.name: row for row in guest.rows_of(70.0, predicate(500.0), bare)}
    assert {name: (row.value, row.baseline_value, row.limit) for name, row in rows.items()} == {
        "guest.total": (70.0, 7.0, 90),
        "guest.running": (3.5, 3.0, 15),
        "guest.activate_again": (1.5, 0.1, 5),
        "guest.memory_at_rest": (500.0, 20.0, 700),
    }
    assert all(row.ok for row in rows.values())


def test_a_guest_that_takes_more_misses_its_limit(guest: Any) -> None:
    bare = guest.Bare(running_s=3.0, total_s=7.0, start_again_s=0.1, memory_mb=20.0)
    rows = {row.name: row.ok for row in guest.rows_of(90.1, predicate(700.1), bare)}
    assert (rows["guest.total"], rows["guest.memory_at_rest"]) == (False, False)


@pytest.mark.parametrize("absent", WHOLE)
def test_memory_counts_only_while_everything_runs(guest: Any, absent: str) -> None:
    bare = guest.Bare(running_s=3.0, total_s=7.0, start_again_s=0.1, memory_mb=20.0)
    running = tuple(name for name in WHOLE if name != absent)
    with pytest.raises(click.ClickException, match="only these ran"):
        list(guest.rows_of(70.0, predicate(500.0, running), bare))


def test_what_cannot_be_measured_says_so_once(
    guest: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(guest.REQUIRE, raising=False)
    monkeypatch.setattr(guest.os, "geteuid", lambda: 1000)
    assert list(guest.rows()) == []
    said = capsys.readouterr().err
    assert said == "GUEST BENCHMARK SKIPPED: only root can make guests\n"


def test_what_must_be_measured_and_cannot_is_an_error(
    guest: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(guest.REQUIRE, "1")
    monkeypatch.setattr(guest.os, "geteuid", lambda: 1000)
    with pytest.raises(click.ClickException, match="only root"):
        list(guest.rows())
