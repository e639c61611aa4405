"""Texts as clients send them, in a real room of a real Synapse."""

from __future__ import annotations

from typing import Any

import pytest

BOT = "@agency:agency.example"
MENTIONS = {"m.mentions": {"user_ids": [BOT]}}
PILL = f'<a href="https://matrix.to/#/{BOT}">agency</a>: !agency ping'


def edit(room: Any, original: str, body: str) -> str:
    return room.say(
        f"* {body}",
        **{
            "m.new_content": {"msgtype": "m.text", "body": body},
            "m.relates_to": {"rel_type": "m.replace", "event_id": original},
        },
    )


def thread(root: str) -> dict[str, Any]:
    return {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}


def test_texts_that_run(room: Any) -> None:
    asked = room.say("is it alive?")
    quoted = "> <@bob:agency.example> is it alive?\n\n!agency ping"
    reply = {"m.relates_to": {"m.in_reply_to": {"event_id": asked}}}
    same = [
        room.say(quoted, **reply),
        room.say("!agency ping\n"),
        room.say("\r\n!agency ping\r\n"),
        room.say("!agency ping", formatted_body="<p>!agency ping</p>"),
    ]
    other = [
        room.say(f"{BOT} !agency ping", **MENTIONS),
        room.say("agency: !agency ping", formatted_body=PILL, **MENTIONS),
        room.say("agency: !agency ping"),
        room.say(f"[agency](https://matrix.to/#/{BOT}) !agency ping", **MENTIONS),
        room.say("!agency ping", formatted_body="shall we have lunch?"),
    ]
    for event_id in same:
        assert room.reply(event_id)["content"]["body"].startswith("pong")
    for event_id in other:
        body = room.reply(event_id)["content"]["body"]
        assert body.startswith("Understood: !agency ping\npong"), body


def test_whoever_speaks_to_the_bot_is_told_how_to_once(room: Any, control: Any) -> None:
    spoken = [
        room.say(f"{BOT} ping", **MENTIONS),
        room.say("agency: ping", **MENTIONS),
        room.say("agency: ping", formatted_body=PILL),
    ]
    talk = [
        room.say("agency: ping"),
        room.say("thanks, agency", **MENTIONS),
        room.say("> <@bob:agency.example> !agency agents start pm\n\nno"),
    ]
    room.ask("!agency version")
    for event_id in spoken:
        (reply,) = room.replies(event_id)
        assert "begins with !agency" in reply["content"]["body"]
    assert [room.replies(event_id) for event_id in talk] == [[], [], []]
    assert [row["outcome"] for row in control.audit()][1:] == ["refused"] * 3 + ["done"]


def test_command_of_a_phone(room: Any, control: Any) -> None:
    said = room.say("!agency agents start pm \u2014project \u201cnew app\u201d\n")
    body = room.reply(said)["content"]["body"]
    first, _, rest = body.partition("\n")
    assert first == 'Understood: !agency agents start pm --project="new app"'
    assert "the project new app" in rest
    details = [row["detail"] for row in control.audit() if said in str(row["detail"])]
    assert len(details) == 2
    assert all("\u2014project" in str(detail) for detail in details)


@pytest.mark.parametrize("first", ["!agency ping", "let us talk"])
def test_edit_in_a_thread_is_answered_in_the_thread(room: Any, first: str) -> None:
    root = room.say("let us talk about agents")
    said = room.say(first, **thread(root))
    edited = edit(room, said, "!agency agents start pm")
    content = room.reply(edited)["content"]
    assert content["body"].startswith("Edited messages are not run.")
    assert content["m.relates_to"]["rel_type"] == "m.thread"
    assert content["m.relates_to"]["event_id"] == root
    assert "0 of 2 agents run" in room.ask("!agency agents list")["body"]


def test_edit_outside_a_thread_is_answered_at_the_original(room: Any) -> None:
    said = room.say("hello")
    content = room.reply(edit(room, said, "!agency ping"))["content"]
    assert content["m.relates_to"]["event_id"] == said


def test_command_that_can_begin_no_thread_is_answered_by_a_reply(room: Any) -> None:
    asked = room.say("hello")
    relation = {"rel_type": "m.reference", "event_id": asked}
    said = room.say("!agency ping", **{"m.relates_to": relation})
    content = room.reply(said)["content"]
    assert content["body"].startswith("pong")
    assert content["m.relates_to"] == {"m.in_reply_to": {"event_id": said}}
