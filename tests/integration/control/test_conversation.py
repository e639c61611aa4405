"""Commands in a real room of a real Synapse."""

from __future__ import annotations

from typing import Any


def test_invited_operator_is_answered_in_a_thread(room: Any) -> None:
    event_id = room.say("!agency ping")
    reply = room.reply(event_id)
    content = reply["content"]
    assert reply["sender"] == "@agency:agency.example"
    assert content["msgtype"] == "m.notice"
    assert content["body"].startswith("pong")
    assert content["m.relates_to"] == {
        "rel_type": "m.thread",
        "event_id": event_id,
        "is_falling_back": True,
        "m.in_reply_to": {"event_id": event_id},
    }
    answered = content["org.agency.reply"]
    assert (answered["command"], answered["ok"], answered["final"]) == (event_id, True, True)
