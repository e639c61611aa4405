"""A whole run through the engine: record, runner, child, a real swarm, its result; and a kill."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from recipe_bench import PORT, Bench
from recipe_engines import order

from agency.clock import Clock
from agency.recipes.record.run import Order, Run
from agency.recipes.record.runs import FILE, open_runs


def config_of(bench: Bench) -> Path:
    """The configuration of a server whose instance brings no suites."""
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
                "wildcard": "*.ci.localhost",
                "state": str(state),
                "runner": {"through": f"http://127.0.0.1:{PORT}"},
            }
        )
    )
    return path


def ordered(bench: Bench, number: int, **change: Any) -> Order:
    """An order for the head of the bench's recipe, as a pull request has it."""
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


def wait(bench: Bench, what: Callable[[], object], seconds: float = 150.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, (bench.place / "runner.log").read_text()[-4000:]
        time.sleep(0.2)


def ended(state: Path, *names: str) -> bool:
    """True once all of them ended."""
    with sqlite3.connect(f"file:{state / FILE}?mode=ro", uri=True) as record:
        states = dict(record.execute("SELECT id, state FROM runs"))
    return all(states[name] not in ("queued", "running") for name in names)


@pytest.mark.thorough  # the other one shows it too, after a kill
def test_a_run_of_the_record_is_deployed_tested_and_removed(swarm, bench):
    config = config_of(bench)
    state = bench.place / "server"
    put(state, ordered(bench, 7, stages=("install",)))
    with bench.serving(config):
        wait(bench, lambda: ended(state, "r00000007"))
    run = read(state, "r00000007")
    assert run.state == "passed", run.reason
    result = json.loads(str(run.result))
    assert result["domain"] == "static-site-pr-7-r00000007.ci.localhost"
    assert result["commit"] == run.order.commit
    assert [s["name"] for s in result["stages"] if s["outcome"] == "pass"] == ["install"]
    logs = state / "artifacts" / "r00000007" / "logs"
    assert {"progress.log", "install.log", "teardown.log"} <= {p.name for p in logs.iterdir()}
    assert "install: pass" in (logs / "progress.log").read_text()
    assert bench.on_swarm() == []
    assert not list((state / "apps").glob("*/"))


def test_a_killed_engine_leaves_no_app_and_its_run_is_done_again(swarm, bench):
    config = config_of(bench)
    state = bench.place / "server"
    refused = ordered(bench, 8)
    put(state, ordered(bench, 7, stages=("install",)), replace(refused, commit="e" * 40))
    with bench.serving(config) as process:
        wait(bench, lambda: any(one.startswith("service") for one in bench.on_swarm()))
        process.kill()
        process.wait()
    assert bench.on_swarm() != []
    with bench.serving(config):
        wait(bench, lambda: ended(state, "r00000007", "r00000008"))
    run = read(state, "r00000007")
    assert (run.state, run.attempts) == ("passed", 2)
    gone = read(state, "r00000008")
    assert gone.state == "failed"
    assert gone.reason.startswith("prepare: ")
    assert "cannot be fetched" in gone.reason
    assert bench.on_swarm() == []
