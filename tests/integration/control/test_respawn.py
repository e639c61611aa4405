"""An agent's process dies beside a real Synapse: it comes back, and the room is told once."""

from __future__ import annotations

import os
import signal
import socket
import time
from typing import Any

import pytest
from entering import command, socket_of

NOTICE_KEY = "org.agency.notice"
EVERY_S = 0.5


@pytest.fixture
def watched(homeserver: Any, control: Any, room_class: Any) -> Any:
    """The room of an agency that looks after its agents often."""
    control.config |= {
        "limits": {
            "reconcile_interval_s": EVERY_S,
            "respawn_attempts": 2,
            "respawn_wait_s": 0.5,
            "agent_start_timeout_s": 15,
        }
    }
    control.start()
    room_id = control.ready().json()["room"]["id"]
    token = TOKENS.setdefault("alice", "") or homeserver.create_user("alice")
    TOKENS["alice"] = token
    homeserver.request("POST", f"/_matrix/client/v3/join/{room_id}", token, {})
    return room_class(homeserver, room_id, token)


TOKENS: dict[str, str] = {}


def notices(room: Any, about: str) -> list[str]:
    """What the room was told that answers no command."""
    said = room.homeserver.messages(room.token, room.room_id)
    return [
        event["content"]["body"]
        for event in said
        if NOTICE_KEY in event["content"] and about in event["content"]["body"]
    ]


def test_a_killed_agent_comes_back_the_room_says_so_once_and_the_trace_shows_it(
    watched: Any, control: Any, wait_for: Any
) -> None:
    assert "pm runs" in watched.ask("!agency agents start pm --project=site")["body"]
    before = control.pid_of("pm")
    os.kill(before, signal.SIGKILL)
    told = wait_for(lambda: notices(watched, "pm died"), "notice")
    after = control.pid_of("pm")
    assert after != before
    os.kill(after, 0)
    assert len(told) == 1
    assert told[0].startswith("pm died (ended by SIGKILL")
    said, trace = told[0].split(" Trace: ")
    assert said.endswith(f" and was started again (pid {after}).")
    assert "site" in watched.ask("!agency agents status pm")["body"], "with the project it had"
    mine = [row for row in control.audit() if row["actor"] == "system" and row["target"] == "pm"]
    assert [(row["action"], row["outcome"]) for row in mine] == [
        ("agents watch", "failed"),
        ("agents respawn", "accepted"),
        ("agents respawn", "done"),
    ]
    assert {row["trace"] for row in mine} == {trace}
    shown = watched.ask(f"!agency trace {trace}")["body"]
    assert "agents respawn" in shown
    assert "agents watch" in shown
    assert control.verify() == 0

    # What a person stops stays stopped, and nothing more is said.
    assert watched.ask("!agency agents stop pm")["body"] == "pm is stopped."
    assert "pm runs" in watched.ask("!agency agents start pm")["body"]
    watched.ask("!agency agents disable pm")
    time.sleep(3 * EVERY_S)
    assert control.query("SELECT observed FROM agents WHERE name = 'pm'") == [("stopped",)]
    assert len(notices(watched, "pm ")) == 1


def test_an_agent_that_cannot_come_back_has_failed_until_a_person_says_so(
    watched: Any, control: Any, wait_for: Any
) -> None:
    assert "developer runs" in watched.ask("!agency agents start developer")["body"]
    # A directory in the place of its configuration: nothing can be handed to it any more.
    config = control.place / "state" / "agents" / "developer" / "agent.json"
    config.unlink()
    (config / "in-the-way").mkdir(parents=True)
    os.kill(control.pid_of("developer"), signal.SIGKILL)
    failed = wait_for(lambda: notices(watched, "has failed for good"), "condition in the room")
    assert len(failed) == 1
    assert "2 attempts in a row" in failed[0]
    assert "!agency agents respawn developer" in failed[0]
    assert "agent-failed" in watched.ask("!agency warnings list")["body"]
    (config / "in-the-way").rmdir()
    config.rmdir()
    assert "developer runs" in watched.ask("!agency agents respawn developer")["body"]
    wait_for(
        lambda: "agent-failed" not in watched.ask("!agency warnings list")["body"],
        "end of the condition",
    )
    wait_for(lambda: notices(watched, "Mended: developer died"), "notice of the end")


def test_killed_while_it_mends_the_agent_runs_once_and_is_told_of_once(
    watched: Any, control: Any, wait_for: Any
) -> None:
    """kill -9 of the control plane between the reconciler's look and the end of what it asked."""
    assert "pm runs" in watched.ask("!agency agents start pm --project=site")["body"]
    os.kill(control.pid_of("pm"), signal.SIGKILL)
    wait_for(lambda: control.query("SELECT 1 FROM agent_histories WHERE tries > 0"), "attempt")
    control.stop(signal.SIGKILL)
    control.start()
    wait_for(lambda: notices(watched, "pm died"), "notice")
    assert len(notices(watched, "pm died")) == 1
    assert "site" in watched.ask("!agency agents status pm")["body"]
    assert control.query("SELECT count(*) FROM operations WHERE state = 'running'") == [(0,)]
    assert control.verify() == 0


def test_in_safe_mode_it_is_left_so(watched: Any, control: Any, wait_for: Any) -> None:
    assert "pm runs" in watched.ask("!agency agents start pm")["body"]
    assert "Safe mode is on" in watched.ask("!agency safe-mode on")["body"]
    os.kill(control.pid_of("pm"), signal.SIGKILL)
    (told,) = wait_for(lambda: notices(watched, "Safe mode is on"), "notice")
    assert told.startswith("pm died")
    assert "0 of 2 agents run." in watched.ask("!agency agents list")["body"]
    control.stop(signal.SIGKILL)
    control.start()
    time.sleep(3 * EVERY_S)
    assert "0 of 2 agents run." in watched.ask("!agency agents list")["body"], "nor at a start"
    assert len(notices(watched, "Safe mode is on")) == 1
    assert "Safe mode is off" in watched.ask("!agency safe-mode off")["body"]
    wait_for(lambda: notices(watched, "pm runs again"), "agent that runs")
    status, answer = command(socket_of(control), "agents", "list")
    assert status == 0, answer
    assert "1 of 2 agents run." in str(answer)
    with socket.socket() as probe:
        port = next(a["port"] for a in control.config["agents"] if a["name"] == "pm")
        assert probe.connect_ex(("127.0.0.1", port)) == 0
