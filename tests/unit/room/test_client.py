"""Saying a command and waiting for the reply, and what can go wrong on the way."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from dataclasses import replace

import pytest

from agency.clock import Clock
from agency.control import room_client
from agency.control.room_client import RoomError
from agency.control.room_client import ask as ask_room


class Time:
    """A clock that only moves when somebody sleeps or a test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    @property
    def clock(self) -> Clock:
        return Clock(wall=lambda: self.now, steady=lambda: self.now)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def ask(homeserver, time):
    """Says "!agency ping" at the stand-in."""

    def ask(timeout_s: float = 30.0):
        return asyncio.run(
            ask_room(
                homeserver.login,
                "!agency ping",
                timeout_s=timeout_s,
                clock=time.clock,
                sleep=time.sleep,
            )
        )

    return ask


def test_a_command_is_said_and_its_reply_found(homeserver, ask):
    reply = ask()
    assert (reply.command, reply.event_id, reply.sender) == (
        "$command",
        "$reply",
        "@agency:agency.example",
    )
    assert (reply.body, reply.ok, reply.trace) == ("pm runs.", True, "t-1")
    alias, first, sent, then = homeserver.requests
    assert alias.path == "/_matrix/client/v3/directory/room/%23control%3Aagency.example"
    assert (first.method, first.path) == ("GET", "/_matrix/client/v3/sync")
    assert (first.query["timeout"], "since" in first.query) == ("0", False)
    start = "/_matrix/client/v3/rooms/%21room%3Aagency.example/send/m.room.message/room-"
    assert (sent.method, sent.path.startswith(start)) == ("PUT", True)
    assert sent.body == {"msgtype": "m.text", "body": "!agency ping"}
    assert (then.query["since"], then.query["timeout"]) == ("s0", "5000")
    only = json.loads(then.query["filter"])["room"]
    assert only["rooms"] == ["!room:agency.example"]
    assert only["timeline"]["types"] == ["m.room.message"]
    assert {each.token for each in homeserver.requests} == {"Bearer token-of-alice"}


def test_it_speaks_where_the_alias_points_now(homeserver, ask):
    homeserver.on_alias = (200, {"room_id": "!new:agency.example"})
    assert ask().ok is True
    assert [each.path for each in homeserver.of("POST", "/join/")] == [
        "/_matrix/client/v3/join/%21new%3Aagency.example"
    ]
    (sent,) = homeserver.of("PUT", "/send/")
    assert "/rooms/%21new%3Aagency.example/" in sent.path
    for sync in homeserver.of("GET", "/sync"):
        assert json.loads(sync.query["filter"])["room"]["rooms"] == ["!new:agency.example"]


def test_a_refusal_is_a_reply(homeserver, ask, likeness):
    homeserver.events = [likeness(ok=False)]
    assert ask().ok is False


def meta(**changes):
    good = {"command": "$command", "trace": "t-1", "ok": True, "final": True}
    return {"content": {"org.agency.reply": {**good, **changes}}}


def relation(**changes):
    good = {"rel_type": "m.thread", "event_id": "$command"}
    return {"content": {"m.relates_to": {**good, **changes}}}


@pytest.mark.parametrize(
    "changes",
    [
        {"sender": "@mallory:agency.example"},
        {"sender": "@agency:evil.example"},
        {"content": {"org.agency.reply": None}},
        {"content": {"m.relates_to": "x"}},
        meta(command="$other"),
        meta(final=False),
        meta(final="true"),
        relation(event_id="$other"),
        relation(rel_type="m.replace"),
    ],
)
def test_a_likeness_of_a_reply_is_not_one(homeserver, ask, likeness, changes):
    homeserver.events = [likeness(event_id="$likeness", **changes), likeness()]
    assert ask().event_id == "$reply"


def test_only_true_is_ok(homeserver, ask, likeness):
    homeserver.events = [likeness(**meta(ok="yes"))]
    assert ask().ok is False


def test_it_waits_until_the_reply_comes(homeserver, ask, time, answer_sync, likeness):
    homeserver.on_sync = lambda number: (
        200,
        answer_sync(number, [likeness()] if number == 3 else [{"sender": 1}, "x", None]),
    )
    assert ask().ok
    assert [each.query.get("since") for each in homeserver.of("GET", "/sync")] == [
        None,
        "s0",
        "s1",
        "s2",
    ]
    assert time.slept == [0.05, 0.05]


def test_it_does_not_wait_for_ever(homeserver, ask, time, answer_sync):
    def quiet(number):
        time.now += 4.0 if number else 0.0
        return 200, answer_sync(number, [])

    homeserver.on_sync = quiet
    with pytest.raises(RoomError) as caught:
        ask(timeout_s=10)
    assert caught.value.message == "the command was sent, but no reply came within 10 s"
    assert caught.value.where == "$command"
    waits = [each.query["timeout"] for each in homeserver.of("GET", "/sync")]
    assert waits == ["0", "5000", "5000", "1899"]


def test_a_reply_that_a_busy_room_left_out_is_found_in_the_thread(
    homeserver, ask, answer_sync, likeness
):
    homeserver.on_sync = lambda number: (200, answer_sync(number, [], limited=True))
    homeserver.on_relations = lambda number: (200, {"chunk": [likeness()]})
    assert ask().ok
    (asked,) = homeserver.of("GET", "/relations/")
    assert asked.path == (
        "/_matrix/client/v1/rooms/%21room%3Aagency.example/relations/%24command/m.thread"
    )


def test_a_fault_while_sending_is_tried_again_as_the_same_message(homeserver, ask, time):
    homeserver.on_send = lambda number: (
        (200, {"event_id": "$command"}) if number == 3 else (502, b"<html>bad gateway")
    )
    assert ask().ok
    sent = homeserver.of("PUT", "/send/")
    assert len(sent) == 4
    assert len({each.path for each in sent}) == 1
    assert time.slept == [0.25, 0.5, 1.0]


def test_two_commands_are_two_messages(homeserver, ask):
    ask()
    ask()
    assert len({each.path for each in homeserver.of("PUT", "/send/")}) == 2


def test_it_waits_as_long_as_the_homeserver_says(homeserver, ask, time):
    homeserver.on_send = lambda number: (
        (200, {"event_id": "$command"})
        if number
        else (429, {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 1500})
    )
    assert ask().ok
    assert time.slept == [1.5]


def test_but_not_longer_than_it_may(homeserver, ask, time):
    homeserver.on_send = lambda number: (
        429,
        {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 31_000},
    )
    with pytest.raises(RoomError, match="HTTP 429 M_LIMIT_EXCEEDED") as caught:
        ask()
    assert "wait" in (caught.value.hint or "")
    assert (time.slept, len(homeserver.of("PUT", "/send/"))) == ([], 1)


@pytest.mark.parametrize(
    ("status", "body", "attempts", "message", "hint"),
    [
        (401, {"errcode": "M_UNKNOWN_TOKEN"}, 1, "HTTP 401 M_UNKNOWN_TOKEN", "agency up"),
        (403, {"errcode": "M_FORBIDDEN"}, 1, "HTTP 403 M_FORBIDDEN", "member"),
        (404, b"", 1, "HTTP 404", "its log"),
        (500, {"errcode": "M_UNKNOWN"}, 4, "HTTP 500 M_UNKNOWN", "its log"),
        (429, b"slow down", 4, "HTTP 429", "its log"),
        (302, b"", 1, "HTTP 302", "its log"),
        (200, b"<html>", 1, "HTTP 200", "its log"),
        (200, [], 1, "HTTP 200", "its log"),
        (200, {}, 1, "has no event_id", "homeserver"),
        (200, {"event_id": 7}, 1, "has no event_id", "homeserver"),
    ],
)
def test_what_a_homeserver_may_answer_instead(
    homeserver, ask, status, body, attempts, message, hint
):
    homeserver.on_send = lambda number: (status, body)
    with pytest.raises(RoomError) as caught:
        ask()
    assert len(homeserver.of("PUT", "/send/")) == attempts
    assert caught.value.message.endswith(message)
    assert hint in (caught.value.hint or "")
    assert "token-of-alice" not in f"{caught.value} {caught.value.as_dict()}"


def test_a_sync_that_says_nothing_is_refused(homeserver, ask):
    homeserver.on_sync = lambda number: (200, {"rooms": {}})
    with pytest.raises(RoomError, match="no next_batch"):
        ask()
    assert not homeserver.of("PUT", "/send/")


def test_odd_shapes_in_a_sync_are_passed_over(homeserver, ask, answer_sync, likeness):
    odd = [
        {"next_batch": "s1"},
        {"next_batch": "s1", "rooms": []},
        {"next_batch": "s1", "rooms": {"join": {"!room:agency.example": {"timeline": 1}}}},
        answer_sync(1, ["x", {"sender": "@agency:agency.example", "content": "x"}]),
        {**answer_sync(1, []), "rooms": {"join": {"!other:x": {"timeline": {"events": [1]}}}}},
    ]
    homeserver.on_sync = lambda number: (
        200,
        odd[number] if number < len(odd) else answer_sync(number, [likeness()]),
    )
    assert ask().ok


def test_a_fault_after_sending_says_that_it_was_sent(homeserver, ask, answer_sync):
    homeserver.on_sync = lambda number: (
        (500, {"errcode": "M_UNKNOWN"}) if number else (200, answer_sync(0, []))
    )
    with pytest.raises(RoomError, match="the command was sent, but the homeserver answered"):
        ask()


def test_an_answer_without_end_is_cut_off(homeserver, ask):
    homeserver.on_send = lambda number: (200, b" " * (8 * 1024 * 1024 + 1))
    with pytest.raises(RoomError, match="more than 8388608 bytes"):
        ask()


def test_an_answer_that_takes_too_long_is_cut_off(homeserver, ask, monkeypatch):
    patience = replace(room_client._PATIENCE, answer_s=0.3)
    monkeypatch.setattr(room_client, "_PATIENCE", patience)
    homeserver.stall = threading.Event()
    try:
        with pytest.raises(RoomError, match="does not end"):
            ask()
    finally:
        homeserver.stall.set()
    assert len(homeserver.of("PUT", "/send/")) == 1


def test_nobody_listens(homeserver, ask, time):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        homeserver.url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(RoomError, match="no answer from the homeserver") as caught:
            ask()
    assert "agency status" in (caught.value.hint or "")
    assert time.slept == [0.25, 0.5, 1.0]


def test_neither_proxies_nor_netrc_are_asked(homeserver, ask, monkeypatch, tmp_path):
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login mallory password x\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert ask().ok
    assert {each.token for each in homeserver.requests} == {"Bearer token-of-alice"}
