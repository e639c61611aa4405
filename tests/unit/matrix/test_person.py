"""A person at a client: patience with a homeserver, and finding the reply to a command."""

from __future__ import annotations

import pytest

from agency.clock import Clock
from agency.matrix import Backoff, MatrixError, MatrixSession, NoReplyError, Patience, Person

ROOM = "!r:x"
LIMITED = {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 1500}


class Time:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def person(session, time):
    def person(**patience):
        given = Patience(
            **{"backoff": Backoff(first_s=0.5, longest_s=0.5, jitter=lambda: 1.0)} | patience
        )
        clock = Clock(steady=lambda: time.now)
        return Person(
            session, "@a:x", timeout_s=10.0, patience=given, clock=clock, sleep=time.sleep
        )

    return person


def reply(event_id="$reply", **changes):
    meta = {"command": "$c", "trace": "t", "ok": True, "final": True, **changes}
    relation = {"rel_type": "m.thread", "event_id": "$c"}
    content = {"body": "done", "m.relates_to": relation, "org.agency.reply": meta}
    return {"type": "m.room.message", "event_id": event_id, "sender": "@bot:x", "content": content}


def synced(number, *events):
    joined = {ROOM: {"timeline": {"events": list(events)}}}
    return {"next_batch": f"s{number}", "rooms": {"join": joined}}


async def test_a_rate_limit_is_waited_for_as_long_as_it_says(homeserver, gives, person, time):
    homeserver.answers = [gives(LIMITED, 429), gives(b"", 429), gives({"event_id": "$e"})]
    assert await person().say(ROOM, "hello", "t1") == "$e"
    assert time.slept == [1.5, 0.5]
    assert len({path for _, path, _, _ in homeserver.seen}) == 1


async def test_but_not_beyond_the_time_there_is(homeserver, gives, person, time):
    homeserver.answers = [gives({**LIMITED, "retry_after_ms": 10_000}, 429)]
    with pytest.raises(MatrixError, match="M_LIMIT_EXCEEDED"):
        await person().say(ROOM, "hello", "t1")
    assert time.slept == []


async def test_and_not_more_often_than_it_may(homeserver, gives, person, time):
    homeserver.answers = [gives(b"", 429)]
    with pytest.raises(MatrixError, match="HTTP 429"):
        await person(limits=2).join(ROOM)
    assert time.slept == [0.5, 0.5]


@pytest.mark.parametrize(("faults", "attempts"), [(0, 1), (2, 3)])
async def test_faults_are_tried_again_where_that_is_safe(
    homeserver, gives, person, faults, attempts
):
    homeserver.answers = [gives(b"", 502)]
    with pytest.raises(MatrixError, match="HTTP 502"):
        await person(faults=faults).say(ROOM, "hello", "t1")
    assert len(homeserver.seen) == attempts


async def test_what_may_have_been_done_is_not_done_twice(homeserver, gives, person):
    homeserver.answers = [gives(b"", 502)]
    with pytest.raises(MatrixError, match="HTTP 502"):
        await person(faults=3).invite(ROOM, "@b:x")
    assert len(homeserver.seen) == 1


async def test_log_in_takes_the_token(homeserver, http, gives):
    homeserver.answers = [gives({"access_token": "fresh"}), gives({"room_id": ROOM})]
    person = await Person.log_in(MatrixSession(homeserver.url, http), "@a:x", "word")
    assert await person.join("#r:x") == ROOM
    assert homeserver.tokens == [None, "Bearer fresh"]
    assert homeserver.seen[0][3]["password"] == "word"
    assert person.access_token == "fresh"


@pytest.mark.parametrize("answer", [{}, {"access_token": 7}, {"access_token": ""}])
async def test_a_log_in_without_a_token_is_none(homeserver, http, gives, answer):
    homeserver.answers = [gives(answer)]
    with pytest.raises(MatrixError, match="no access_token"):
        await Person.log_in(MatrixSession(homeserver.url, http), "@a:x", "word")


async def test_a_reply_is_waited_for(homeserver, gives, person):
    homeserver.answers = [
        gives({"event_id": "$c"}),
        gives(synced(1, reply(final=False), reply(command="$other"))),
        gives(synced(2, reply(), reply())),
    ]
    someone = person()
    found = await someone.ask(ROOM, "!agency ping", "t1")
    assert (found.event_id, found.ok, found.body) == ("$reply", True, "done")
    assert someone.replies_to("$c") == 1
    assert [query.get("since") for _, _, query, _ in homeserver.seen] == [None, None, "s1"]


async def test_a_reply_that_was_seen_is_not_waited_for(homeserver, gives, person):
    homeserver.answers = [gives(synced(1, reply()))]
    someone = person()
    await someone.sync()
    assert (await someone.wait_for_reply("$c")).event_id == "$reply"
    assert len(homeserver.seen) == 1


async def test_no_reply_is_an_end_too(homeserver, gives, person, time):
    homeserver.answers = [gives(synced(1))]
    with pytest.raises(NoReplyError, match="within 10 s"):
        await person(pace_s=4.0).wait_for_reply("$c")
    assert time.slept == [4.0, 4.0, 4.0]
    assert len(homeserver.seen) == 3


async def test_state_is_a_list(homeserver, gives, person):
    homeserver.answers = [gives([{"type": "m.room.name"}, "odd"])]
    assert await person().state(ROOM) == [{"type": "m.room.name"}]


def body(event):
    return event["content"]["body"] if event["event_id"] == "$wanted" else None


async def test_an_event_is_waited_for_until_one_is_right(homeserver, gives, person):
    other, wanted = reply("$other"), reply("$wanted")
    homeserver.answers = [gives(synced(1, other)), gives(synced(2, wanted))]
    assert await person().wait_for(body, ROOM, what="word") == "done"


async def test_what_a_sync_left_out_is_read_from_the_room(homeserver, gives, person):
    limited = synced(2)
    limited["rooms"]["join"][ROOM]["timeline"]["limited"] = True
    page = {"chunk": [reply("$wanted")], "end": "t1"}
    homeserver.answers = [gives(synced(1)), gives(limited), gives(page)]
    assert await person().wait_for(body, ROOM, what="word") == "done"


async def test_an_event_that_does_not_come_is_named(homeserver, gives, person, time):
    syncs = [gives(synced(number)) for number in range(1, 50)]
    homeserver.answers = [gives(synced(0, reply("$other"))), *syncs]

    def late(event):  # each look takes time
        time.now += 2.0

    with pytest.raises(NoReplyError, match="word of it did not come within 3 s"):
        await person().wait_for(late, ROOM, what="word of it", within_s=3.0)
