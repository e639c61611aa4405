"""`agency recipes queue` over a real record, and a simulated GitLab for the pull request."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from recipe_engines import order
from simulated_gitlab import simulated_gitlab

from agency import cli
from agency.clock import Clock
from agency.recipes.record.run import RunState
from agency.recipes.record.runs import open_runs

CONFIG = {
    "domain": "example.org",
    "engine": "builtin",
    "maxTests": 1,
    "buildTimeoutMinutes": 60,
    "recipes": {"wiki": {"repository": "team/app"}},
    "hosts": {"bridge": "hook.example.org", "dashboard": "ci.example.org"},
    "ports": {"bridge": 8100, "dashboard": 8101},
    "wildcard": "*.ci.example.org",
}


def agency(*arguments: object) -> int:
    return cli.run(cli.cli, list(map(str, arguments)), prog_name="agency")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write(tmp_path, "https://git.example.org")


def write(place: Path, forge: str) -> Path:
    path = place / "recipes.json"
    known = {"state": str(place), "forge": {"kind": "gitlab", "url": forge}}
    path.write_text(json.dumps(CONFIG | known))
    return path


def fill(place: Path) -> None:
    async def work() -> None:
        async with open_runs(place, Clock()) as runs:
            for number in (1, 2, 3):
                await runs.add(order(number, comment=number), f"r{number:08d}")
            await runs.take(1)
            await runs.add(order(4, comment=4), "r00000004")
            await runs.end("r00000004", RunState.PASSED)

    asyncio.run(work())


def test_the_list_tells_position_and_time(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path)
    assert agency("recipes", "queue", "list", "--config", config) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("r00000001  running    wiki #1  ends in about ")
    assert lines[1] == "r00000002  queued     wiki #2  position 0, starts in about 10 min"
    assert lines[2] == "r00000003  queued     wiki #3  position 1, starts in about 20 min"
    assert agency("recipes", "queue", "list", "--json", "--all", "--config", config) == 0
    rows = json.loads(capsys.readouterr().out)["runs"]
    assert [row["state"] for row in rows] == ["running", "queued", "queued", "passed"]
    assert rows[2]["startsInSeconds"] > rows[1]["startsInSeconds"] > 0


def test_cancel_ends_what_waits_and_marks_what_runs(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path)
    assert agency("recipes", "queue", "cancel", "r00000002", "--config", config) == 0
    assert agency("recipes", "queue", "cancel", "r00000001", "--config", config) == 0
    out = capsys.readouterr().out.splitlines()
    assert out == ["r00000002 is cancelled", "r00000001 is being torn down"]
    for run, told in (("r00000004", "it has ended: passed"), ("r0000000z", "no such run")):
        assert agency("recipes", "queue", "cancel", run, "--config", config) == 1
        assert told in capsys.readouterr().err
    assert agency("recipes", "queue", "cancel", "all", "--config", config) == 2


def test_add_queues_the_head_of_an_open_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    token = tmp_path / "token"
    token.write_text("token-of-ada\n")
    token.chmod(0o600)
    with simulated_gitlab() as lab:
        lab.accounts["ada"] = (10, 30, "token-of-ada")
        lab.requests += [request(7, "opened"), request(8, "closed")]
        config = write(tmp_path, lab.url)
        words = ("recipes", "queue", "add", "--token", token, "--config", config)
        assert agency(*words, "--stage", "install", "wiki", 7, "--json") == 0
        added = json.loads(capsys.readouterr().out)
        assert (added["commit"], added["state"]) == ("7" * 40, "queued")
        assert agency(*words, "wiki", 8) == 1
        assert "it is closed" in capsys.readouterr().err
        assert agency(*words, "blog", 7) == 1
        assert "enrolled are wiki" in capsys.readouterr().err
    assert agency("recipes", "queue", "list", "--json", "--config", config) == 0
    (row,) = json.loads(capsys.readouterr().out)["runs"]
    assert (row["run"], row["pullRequest"]) == (added["run"], 7)
    token.chmod(0o644)
    assert agency(*words, "wiki", 7) == 3
    assert "others may read the token" in capsys.readouterr().err


def request(number: int, state: str) -> dict[str, Any]:
    author = {"id": 10, "username": "ada"}
    return {
        "iid": number,
        "title": "a change",
        "state": state,
        "author": author,
        "source_branch": "change",
        "target_branch": "main",
        "sha": str(number) * 40,
        "web_url": "https://git.example.org",
    }
