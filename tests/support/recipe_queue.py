"""Queue of runs for a runner over a bench: orders, the record read back, waits."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from recipe_bench import PORT, Bench
from recipe_engines import order

from agency.clock import Clock
from agency.recipes.record.run import Order, Run
from agency.recipes.record.runs import FILE, open_runs


def config_of(bench: Bench, zone: str = "ci.localhost", **runner: str) -> Path:
    """Write the configuration of a server whose instance brings no suites."""
    state = bench.place / "server"
    state.mkdir()
    path = bench.place / "recipes.json"
    path.write_text(
        json.dumps(
            {
                "domain": "example.org",
                "engine": "builtin",
                "maxTests": 2,
                "buildTimeoutMinutes": 10,
                "recipes": {"static-site": {"repository": "team/static-site"}},
                "forge": {"kind": "gitea", "url": "https://git.example.org"},
                "hosts": {"bridge": "hook.example.org", "dashboard": "ci.example.org"},
                "ports": {"bridge": 8100, "dashboard": 8101},
                "wildcard": f"*.{zone}",
                "state": str(state),
                "runner": runner or {"through": f"http://127.0.0.1:{PORT}"},
            }
        )
    )
    return path


def ordered(bench: Bench, number: int, **change: Any) -> Order:
    """Make an order for the head of the bench's recipe, as a pull request has it."""
    commit = bench.git("rev-parse", "HEAD")
    bench.git("update-ref", f"refs/pull/{number}/head", commit)
    found = order(number)
    clone = f"file://{bench.recipe}"
    return replace(found, recipe="static-site", commit=commit, clone_url=clone, **change)


def put(state: Path, *orders: Order) -> None:
    """Queue runs."""

    async def work() -> None:
        async with open_runs(state, Clock()) as runs:
            for each in orders:
                await runs.add(each, f"r{each.pull_request:08d}")

    asyncio.run(work())


def read(state: Path, name: str) -> Run:
    """Read a run."""

    async def work() -> Run | None:
        async with open_runs(state, Clock()) as runs:
            return await runs.run(name)

    found = asyncio.run(work())
    assert found is not None
    return found


def wait(bench: Bench, what: Callable[[], object], seconds: float = 240.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, (bench.place / "runner.log").read_text()[-4000:]
        time.sleep(0.2)


def ended(state: Path, *names: str) -> bool:
    """Return whether all of them ended."""
    with sqlite3.connect(f"file:{state / FILE}?mode=ro", uri=True) as record:
        states = dict(record.execute("SELECT id, state FROM runs"))
    return all(states[name] not in ("queued", "running") for name in names)
