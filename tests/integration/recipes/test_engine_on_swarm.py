"""A whole run through the engine: record, runner, child, a real swarm, its result; and a kill."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from recipe_queue import config_of, ended, ordered, put, read, wait


@pytest.mark.thorough  # the other one shows it too, after a kill
def test_a_run_of_the_record_is_deployed_tested_and_removed(swarm, bench):
    config = config_of(bench)
    state = bench.place / "server"
    put(state, ordered(bench, 6, stages=("install",)))
    with bench.serving(config):
        wait(bench, lambda: ended(state, "r00000006"))
    run = read(state, "r00000006")
    assert run.state == "passed", run.reason
    result = json.loads(str(run.result))
    assert result["domain"] == "static-site-pr-6-r00000006.ci.localhost"
    assert result["commit"] == run.order.commit
    assert [s["name"] for s in result["stages"] if s["outcome"] == "pass"] == ["install"]
    logs = state / "artifacts" / "r00000006" / "logs"
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
