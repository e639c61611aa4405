"""A queue of a thousand runs whose runner is killed again and again: none lost, none doubled."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from recipe_engines import order

from agency.clock import Clock
from agency.recipes.record.runs import FILE, open_runs

PROGRAM = Path(__file__).parents[2] / "support" / "recipe_thousand.py"
RUNS = 1000


@pytest.mark.thorough
@pytest.mark.timeout(600)
async def test_a_thousand_runs_survive_kills_at_any_point(tmp_path: Path) -> None:
    async with open_runs(tmp_path, Clock()) as runs:
        for number in range(1, RUNS + 1):
            await runs.add(order(number, comment=number), f"r{number:08d}")
    chance = random.Random(1)
    kills = await asyncio.to_thread(_run_and_kill, tmp_path, chance)
    notes = Counter((tmp_path / "notes").read_text().splitlines())
    with sqlite3.connect(tmp_path / FILE) as record:
        found = record.execute("SELECT state, reason FROM runs").fetchall()
    states = Counter(state for state, _ in found)
    assert states["passed"] + states["error"] == RUNS, "none is lost"
    # A run that died with its engine in three starts is an error, and says so. Its last start was
    # without others, so that few come to this however often the engine is killed.
    told = {reason for state, reason in found if state == "error"}
    assert told <= {"its engine was killed 3 times while it ran"}
    assert states["error"] <= RUNS // 50
    results = [notes[f"result r{number:08d}"] for number in range(1, RUNS + 1)]
    starts = [notes[f"start r{number:08d}"] for number in range(1, RUNS + 1)]
    assert min(starts) >= 1
    # A kill between the note and the result makes one more; a result that is there makes none.
    assert sum(results) - RUNS <= 8 * kills
    assert sum(starts) - RUNS <= 8 * kills
    assert kills >= 5


def _run_and_kill(place: Path, chance: random.Random) -> int:
    """Start the runner again and again, until it ends by itself; return how often it was killed."""
    for kills in range(200):
        (place / "ready").unlink(missing_ok=True)
        process = subprocess.Popen([sys.executable, str(PROGRAM), str(place)])
        while not (place / "ready").exists() and process.poll() is None:
            time.sleep(0.005)
        time.sleep(chance.uniform(0.0, 2.0))
        if process.poll() is not None:
            assert process.returncode == 0
            return kills
        process.kill()
        process.wait()
    raise AssertionError("it never ends")
