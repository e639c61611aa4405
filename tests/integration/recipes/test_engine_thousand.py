"""A queue of a thousand runs whose runner is killed again and again: none lost, none doubled."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from recipe_engines import in_memory, order

from agency.clock import Clock
from agency.recipes.record.runs import FILE, open_runs

PROGRAM = Path(__file__).parents[2] / "support" / "recipe_thousand.py"
RUNS = 1000


@pytest.fixture
def place() -> Iterator[Path]:
    with in_memory() as made:
        yield made


@pytest.mark.thorough
@pytest.mark.timeout(600)
async def test_a_thousand_runs_survive_kills_at_any_point(place: Path) -> None:
    async with open_runs(place, Clock()) as runs:
        for number in range(1, RUNS + 1):
            await runs.add(order(number, comment=number), f"r{number:08d}")
    chance = random.Random(1)
    kills = await asyncio.to_thread(_run_and_kill, place, chance)
    notes = Counter((place / "notes").read_text().splitlines())
    with sqlite3.connect(place / FILE) as record:
        found = record.execute("SELECT state, reason FROM runs").fetchall()
    states = Counter(state for state, _ in found)
    assert states["passed"] + states["error"] == RUNS, "none is lost"
    # A run that died with its engine in three starts is an error, and says so. Its last start was
    # without others, so that few come to this however often the engine is killed.
    told = {reason for state, reason in found if state == "error"}
    assert told <= {"its engine was killed 3 times while it ran"}
    assert states["error"] <= RUNS // 100
    results = [notes[f"result r{number:08d}"] for number in range(1, RUNS + 1)]
    starts = [notes[f"start r{number:08d}"] for number in range(1, RUNS + 1)]
    assert min(starts) >= 1
    # A kill between the note and the result makes one more; a result that is there makes none.
    assert sum(results) - RUNS <= 8 * kills
    assert sum(starts) - RUNS <= 8 * kills
    assert kills >= 20


def _run_and_kill(place: Path, chance: random.Random) -> int:
    """Start the runner again and again, until it ends by itself; return how often it was killed.

    It is killed after some starts and results, drawn by chance, and not after some time: then the
    number of kills is not the machine's to decide. One kill in five comes before any of them.
    """
    for kills in range(200):
        (place / "ready").unlink(missing_ok=True)
        more = chance.randrange(1, 120) if chance.random() > 0.2 else 0
        until = _noted(place) + more
        process = subprocess.Popen([sys.executable, str(PROGRAM), str(place)])
        while process.poll() is None:
            if (place / "ready").exists() and _noted(place) >= until:
                break
            time.sleep(0.001)
        time.sleep(chance.uniform(0.0, 0.03))
        if process.poll() is not None:
            assert process.returncode == 0
            return kills
        process.kill()
        process.wait()
    raise AssertionError("it never ends")


def _noted(place: Path) -> int:
    """Count the starts and results that are noted."""
    try:
        return (place / "notes").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0
