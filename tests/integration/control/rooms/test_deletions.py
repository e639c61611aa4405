"""Commands whose messages are deleted, in a real room."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import pytest


def redact(room: Any, event_id: str) -> None:
    path = f"/_matrix/client/v3/rooms/{room.room_id}/redact/{quote(event_id)}/{time.monotonic_ns()}"
    room.homeserver.request("PUT", path, room.token, {"reason": "no"}).raise_for_status()


@pytest.mark.parametrize("deleted", [False, True])
def test_deleted_change_that_waits_does_not_run(room: Any, control: Any, deleted: bool) -> None:
    assert room.ask("!agency agents start pm")["org.agency.reply"]["ok"] is True
    restarts = [room.say("!agency agents restart pm") for _ in range(3)]
    stop = room.say("!agency agents stop pm")
    if deleted:
        redact(room, stop)
    for each in restarts:
        assert room.reply(each)["content"]["org.agency.reply"]["ok"] is True
    if not deleted:
        assert room.reply(stop)["content"]["body"] == "pm is stopped."
        return
    # A change waits for its turn behind the deleted one, as a look does not.
    assert room.ask("!agency agents restart pm")["org.agency.reply"]["ok"] is True
    ended = [row["outcome"] for row in control.audit() if row["action"] == "agents stop"]
    assert "done" not in ended, ended
    assert "pm: running" in room.ask("!agency agents status pm")["body"]
    (row,) = [row for row in control.audit() if row["outcome"] == "withdrawn"]
    assert row["actor"] == "@alice:agency.example"
    assert row["action"] in ("command", "agents stop")  # by how far it had come
    assert room.replies(stop) == []
    assert control.verify() == 0


def test_deleted_while_the_control_plane_was_away(room: Any, control: Any) -> None:
    assert control.stop() == 0
    kept, gone = room.say("!agency ping"), room.say("!agency agents start pm")
    redact(room, gone)
    control.start()
    assert room.reply(kept)["content"]["body"].startswith("pong")
    assert "0 of 2 agents run" in room.ask("!agency agents list")["body"]
    assert room.replies(gone) == []


def test_command_in_a_thread_whose_root_is_deleted_runs_and_is_answered(room: Any) -> None:
    root = room.say("let us talk about agents")
    redact(room, root)
    relation = {"rel_type": "m.thread", "event_id": root}
    said = room.say("!agency ping", **{"m.relates_to": relation})
    assert room.reply(said)["content"]["body"].startswith("pong")
