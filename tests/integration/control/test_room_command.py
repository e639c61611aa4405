"""`agency room` in a real room: a real Synapse on one side, the control plane on the other."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agency.control.login import Login, write_login

Agency = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def agency(room: Any, tmp_path: Path) -> Agency:
    """Runs `agency room ... --json` as the operator; returns its exit status and document."""
    file = tmp_path / "login.json"
    login = Login(
        homeserver=room.homeserver.url,
        user_id="@alice:agency.example",
        access_token=room.token,
        control_room=room.room_id,
    )
    write_login(file, login)

    def agency(*arguments: str) -> tuple[int, dict[str, Any]]:
        argv = [sys.executable, "-m", "agency", "room", *arguments, "--json", "--login", str(file)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        return done.returncode, json.loads(done.stdout or done.stderr)

    return agency


def test_an_agent_is_started_and_stopped_from_a_terminal(agency: Agency, room: Any) -> None:
    status, started = agency("agents", "start", "pm", "--project", 'the "new" app')
    assert (status, started["ok"]) == (0, True)
    assert started["said"] == '!agency agents start pm --project="the \\"new\\" app"'
    (reply,) = room.replies(started["event_id"])
    assert reply["event_id"] == started["reply"]["event_id"]
    assert reply["content"]["body"] == started["reply"]["body"]
    assert reply["content"]["org.agency.reply"]["trace"] == started["trace"]
    assert 'the "new" app' in agency("agents", "status", "pm")[1]["reply"]["body"]
    assert agency("agents", "stop", "pm")[0] == 0
    assert started["trace"] in agency("audit", "tail")[1]["reply"]["body"]


def test_what_is_refused_in_the_room_exits_1(agency: Agency) -> None:
    status, answer = agency("agents", "start", "nobody")
    assert (status, answer["ok"]) == (1, False)
    assert "nobody" in answer["reply"]["body"]


def test_a_login_that_the_homeserver_does_not_know(agency: Agency, tmp_path: Path) -> None:
    file = tmp_path / "login.json"
    data = json.loads(file.read_text())
    file.write_text(json.dumps({**data, "access_token": "wrong"}))
    status, answer = agency("ping")
    assert status == 1
    assert "M_UNKNOWN_TOKEN" in answer["error"]["message"]


def test_the_longest_help_arrives_whole(agency: Agency) -> None:
    status, answer = agency("help")
    assert status == 0
    assert "!agency trace <trace-id>" in answer["reply"]["body"]
