"""Events are read without trust: any JSON at all gives an event, nothing, or a refusal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.control.events import EventKind, IncomingEvent, MalformedEventError, parse_event

GOOD: dict[str, Any] = {
    "type": "m.room.message",
    "event_id": "$e",
    "room_id": "!r:x",
    "sender": "@a:x",
    "origin_server_ts": 5,
    "content": {"msgtype": "m.text", "body": "!agency ping"},
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


def with_content(**content: Any) -> dict[str, Any]:
    return {**GOOD, "content": {**GOOD["content"], **content}}


def test_message() -> None:
    assert parse_event(GOOD) == IncomingEvent(
        "$e", "!r:x", "@a:x", 5, EventKind.MESSAGE, "m.text", "!agency ping"
    )


def test_edit_says_what_it_now_says() -> None:
    edit = parse_event(
        with_content(
            body="* !agency version",
            **{
                "m.relates_to": {"rel_type": "m.replace", "event_id": "$old"},
                "m.new_content": {"msgtype": "m.text", "body": "!agency version"},
            },
        )
    )
    assert edit is not None
    assert (edit.text, edit.replaces, edit.thread) == ("!agency version", "$old", None)


@pytest.mark.parametrize("sender", ["system", "cli:root", "alice:x"])
def test_sender_is_a_user_and_no_other_actor_of_the_policy(sender: str) -> None:
    assert parse_event(GOOD) is not None, "positive control"
    with pytest.raises(MalformedEventError):
        parse_event({**GOOD, "sender": sender})


@pytest.mark.parametrize("target", [None, 5, "", "two words", "x" * 300])
def test_edit_of_nothing_is_an_edit_all_the_same(target: object) -> None:
    edit = parse_event(
        with_content(**{"m.relates_to": {"rel_type": "m.replace", "event_id": target}})
    )
    assert edit is not None
    assert edit.replaces == ""


def test_new_content_counts_in_edits_only() -> None:
    event = parse_event(with_content(**{"m.new_content": {"body": "!agency version"}}))
    assert event is not None
    assert (event.text, event.replaces) == ("!agency ping", None)


def test_message_in_a_thread() -> None:
    event = parse_event(
        with_content(**{"m.relates_to": {"rel_type": "m.thread", "event_id": "$r"}})
    )
    assert event is not None
    assert (event.thread, event.replaces) == ("$r", None)


REPLY = {"m.in_reply_to": {"event_id": "$file"}}
THREAD = {"rel_type": "m.thread", "event_id": "$root", "is_falling_back": True}


@pytest.mark.parametrize(
    ("content", "text", "answers"),
    [
        ({"m.relates_to": REPLY}, "!agency ping", "$file"),
        ({"m.relates_to": {**THREAD, **REPLY, "is_falling_back": False}}, "!agency ping", "$file"),
        ({"m.relates_to": {**THREAD, **REPLY}}, "!agency ping", ""),
        ({"m.relates_to": {"m.in_reply_to": {"event_id": 5}}}, "!agency ping", ""),
        ({"m.relates_to": {"m.in_reply_to": ["$file"]}}, "!agency ping", ""),
        ({"msgtype": "m.file", "filename": "pm.yaml"}, "!agency ping", "$e"),
        ({"msgtype": "m.file", "filename": "!agency ping"}, "", "$e"),
        ({"msgtype": "m.file"}, "", "$e"),
        ({"msgtype": "m.file", "filename": 5}, "!agency ping", "$e"),
    ],
)
def test_what_a_message_answers_and_the_caption_of_a_file(
    content: dict[str, Any], text: str, answers: str
) -> None:
    event = parse_event(with_content(**content))
    assert event is not None
    assert (event.text, event.answers) == (text, answers)


def test_encrypted_event_has_no_text() -> None:
    event = parse_event({**GOOD, "type": "m.room.encrypted", "content": {"ciphertext": "x"}})
    assert event is not None
    assert (event.kind, event.text) == (EventKind.ENCRYPTED, "")


@pytest.mark.parametrize(
    "raw",
    [
        {**GOOD, "type": "m.reaction"},
        {**GOOD, "type": "m.room.redaction"},
        {**GOOD, "type": 5},
        {**GOOD, "state_key": ""},
        {"type": "m.room.member"},
        {},
    ],
)
def test_other_events_do_not_matter(raw: dict[str, Any]) -> None:
    assert parse_event(raw) is None


@pytest.mark.parametrize(
    "raw",
    [
        None,
        5,
        [],
        "text",
        {key: value for key, value in GOOD.items() if key != "event_id"},
        {**GOOD, "event_id": 5},
        {**GOOD, "event_id": ""},
        {**GOOD, "event_id": "$" + "x" * 255},
        {**GOOD, "event_id": "$\ud800"},
        {**GOOD, "event_id": "$a\nb"},
        {**GOOD, "sender": None},
        {**GOOD, "sender": "@a:x\0"},
        {**GOOD, "room_id": {}},
        {**GOOD, "origin_server_ts": "5"},
        {**GOOD, "origin_server_ts": True},
        {**GOOD, "origin_server_ts": 5.5},
        {**GOOD, "origin_server_ts": 2**60},
        {**GOOD, "content": "text"},
        {**GOOD, "content": None},
    ],
)
def test_what_is_not_an_event_is_refused(raw: object) -> None:
    with pytest.raises(MalformedEventError):
        parse_event(raw)


@pytest.mark.parametrize("body", [None, 5, ["!agency ping"], {"a": 1}])
def test_body_of_another_type_is_no_text(body: object) -> None:
    event = parse_event(with_content(body=body))
    assert event is not None
    assert event.text == ""


@given(
    st.sampled_from([*GOOD, "state_key", "unsigned"]),
    json_values,
    st.dictionaries(
        st.sampled_from(["body", "msgtype", "m.relates_to", "m.new_content"]),
        json_values | st.fixed_dictionaries({"rel_type": json_values, "event_id": json_values}),
    ),
)
def test_nothing_else_is_ever_raised_and_everything_can_be_stored(
    key: str, value: object, content: dict[str, Any]
) -> None:
    try:
        event = parse_event({**with_content(**content), key: value})
    except MalformedEventError:
        return
    if event is not None:
        stored = event.content_json()
        assert stored.isascii()
        assert json.loads(stored)
        again = IncomingEvent.from_stored(
            event_id=event.event_id,
            room_id=event.room_id,
            sender=event.sender,
            origin_ts=event.origin_ts,
            content=stored,
        )
        assert again == event
