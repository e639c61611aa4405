"""The dashboard of recipe CI with 500 recipes of 50 runs each, over HTTP, and a live log's lag.

The baseline of a page is an answer of the same server that reads nothing (a style sheet); that of
the lag is the same append seen by a reader of the file.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from sqlalchemy import insert

from agency.listening import hold
from agency.recipes.configuration import RecipesConfig
from agency.recipes.dashboard.views.rendering import assets
from agency.recipes.naming import run_id
from agency.recipes.record.run import RunState
from agency.recipes.record.runs import FILE
from agency.recipes.record.tables import SCHEMA, runs
from agency.store import migrate, open_database
from benchmarks.rows import Row, percentile

RECIPES, RUNS = 500, 50
_ASKED = 30
_LINES = 40
_LIMIT_MS, _LIMIT_LAG_S = 200.0, 1.0
_STATES = (RunState.PASSED,) * 7 + (RunState.FAILED, RunState.ERROR, RunState.TIMED_OUT)


def result(run: str) -> str:
    """Return a result of the usual size: ten tests a stage."""
    tests = [
        {"name": f"tests/test_app.py::test_{n}", "outcome": "pass", "seconds": 0.1, "reason": ""}
        for n in range(10)
    ]
    stages = [
        {
            "name": name,
            "outcome": "pass",
            "seconds": 20.0,
            "reason": "",
            "notes": [],
            "tests": tests,
        }
        for name in ("install", "upgrade", "backup", "custom")
    ]
    return json.dumps({"run": run, "version": "1.1.0+1.27.2", "stages": stages}, indent=2)


def _row(recipe: int, number: int) -> dict[str, object]:
    sequence = number * RECIPES + recipe
    run, queued = run_id(sequence.to_bytes(5)), 1_764_000_000_000 + sequence * 1000
    return {
        "id": run,
        "recipe": f"recipe-{recipe:03}",
        "project": f"team/recipe-{recipe:03}",
        "pull_request": 1 + number // 5,
        "commit_sha": f"{number // 2:040x}",
        "head_ref": "refs/pull/1/head",
        "clone_url": "https://git.example.org/team/recipe.git",
        "stages": "install,upgrade,backup,custom",
        "requester": "ada",
        "comment": sequence,
        "state": _STATES[sequence * 7 % len(_STATES)],
        "reason": "",
        "queued_ts": queued,
        "started_ts": queued + 1000,
        "ended_ts": queued + 80_000,
        "engine": "builtin",
        "result": result(run),
    }


async def _fill(state: Path) -> None:
    database = open_database(str(state / FILE))
    try:
        await migrate(database, SCHEMA)
        for number in range(RUNS):
            made = [_row(recipe, number) for recipe in range(RECIPES)]
            await database.write(lambda c, rows=made: c.execute(insert(runs), rows), flush=False)  # type: ignore[misc]
    finally:
        await database.close()


def _config(state: Path, port: int) -> RecipesConfig:
    return RecipesConfig.model_validate(
        {
            "domain": "example.org",
            "engine": "builtin",
            "maxTests": 2,
            "buildTimeoutMinutes": 60,
            "recipes": {
                f"recipe-{n:03}": {"repository": f"team/recipe-{n:03}"} for n in range(RECIPES)
            },
            "forge": {"kind": "gitea", "url": "https://git.example.org"},
            "hosts": {"bridge": "hook.example.org", "dashboard": "ci.example.org"},
            "ports": {"bridge": 1, "dashboard": port},
            "wildcard": "*.ci.example.org",
            "state": str(state),
        }
    )


@asynccontextmanager
async def _served(state: Path) -> AsyncIterator[str]:
    """Serve in a process of its own, as a unit does."""
    held = hold(("dashboard",), {})
    port = held.numbers["dashboard"]
    held.close()
    file = state / "recipes.json"
    file.write_text(_config(state, port).model_dump_json(by_alias=True))
    argv = [sys.executable, "-m", "agency", "recipes", "dashboard", "--config", str(file)]
    process = await asyncio.create_subprocess_exec(*argv, stderr=asyncio.subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        async with aiohttp.ClientSession(url) as session:
            for _ in range(200):
                try:
                    async with session.get("/health") as answer:
                        if answer.status == 200:
                            break
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.1)
        yield url
    finally:
        process.terminate()
        await process.wait()


async def _times(session: aiohttp.ClientSession, path: str) -> list[float]:
    taken = []
    for _ in range(_ASKED):
        begun = time.perf_counter()
        async with session.get(path, headers={"Accept": "text/html"}) as answer:
            body = await answer.read()
        taken.append((time.perf_counter() - begun) * 1000)
        if answer.status != 200 or not body:
            raise RuntimeError(f"{path} was answered with {answer.status}")
    return taken


async def _lags(session: aiohttp.ClientSession, state: Path, run: str) -> list[float]:
    """Append lines to a log, and take the time until each is in the stream."""
    log = state / "artifacts" / run / "logs" / "install.log"
    log.parent.mkdir(parents=True)
    log.write_text("begins\n")
    lags: list[float] = []
    async with session.get(f"/runs/{run}/logs/install/events?from=0") as answer:
        if answer.status != 200:
            raise RuntimeError(f"the stream was answered with {answer.status}")
        for number in range(_LINES):
            # At any point of the stream's pause.
            await asyncio.sleep(secrets.randbelow(300) / 1000)
            written = time.perf_counter()
            with log.open("a") as file:
                file.write(f"line-{number};\n")
            while f"line-{number};".encode() not in await answer.content.readline():
                pass
            lags.append(time.perf_counter() - written)
    return lags


async def _measure(state: Path) -> list[Row]:
    await _fill(state)
    database = open_database(str(state / FILE))
    running = run_id((RECIPES * RUNS + 1).to_bytes(5))
    row = _row(0, 0) | {"id": running, "state": RunState.RUNNING, "comment": None, "ended_ts": None}
    await database.write(lambda c: c.execute(insert(runs), [row]))
    await database.close()
    async with _served(state) as url, aiohttp.ClientSession(url) as session:
        bare = percentile(await _times(session, assets()["dashboard.css"].path), 0.5)
        made = []
        for name, path in (("overview", "/"), ("recipe", "/recipes/recipe-250")):
            taken = percentile(await _times(session, path), 0.95)
            what = "a file of the same server"
            made.append(Row(f"dashboard.{name}.p95", taken, "ms", what, bare, _LIMIT_MS))
        lags = await _lags(session, state, running)
        lag = percentile(lags, 0.99)
        made.append(
            Row(
                "dashboard.log_lag.p99",
                lag,
                "s",
                "half of those lines",
                percentile(lags, 0.5),
                _LIMIT_LAG_S,
            )
        )
    return made


def rows() -> Iterator[Row]:
    """Measure the dashboard."""
    with tempfile.TemporaryDirectory() as place:
        yield from asyncio.run(_measure(Path(place)))
