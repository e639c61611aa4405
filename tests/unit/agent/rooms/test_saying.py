"""What an agent says: bounds, relations, pace, messages to rooms and peers, and no endless talk."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from gosutos import ALICE, ROOM, rule
from hypothesis import given
from hypothesis import strategies as st
from room_events import ME, NOW, PEER, event, facts, policy

from agency.agent.programs.tools import Outcome, Tool
from agency.agent.rooms.events.batches import read_batch, since_joined
from agency.agent.rooms.events.contents import answers, bounded, edit, message, reply, transaction
from agency.agent.rooms.events.pacing import may_tell, wait_ms
from agency.agent.rooms.events.waking import Kind, judge
from agency.agent.rooms.inbox import Inbox
from agency.agent.rooms.program import BothTools
from agency.agent.rooms.sending import NAME, Order, SendMessage, order
from agency.agent.rooms.voice import Voice
from agency.clock import Clock

TEAM = {"messaging": {"targets": {"team": ROOM, "far": "!b:x.org"}}}
MAY = {
    "tell": rule(NAME, "allow", target={"exact": "team"}),
    "tell-them": rule(NAME, "allow", target={"exact": "far"}),
}
SAY = {"target": "team", "text": "hello"}


def able():
    return policy(rules=MAY, **TEAM)


@given(st.text(st.characters(exclude_categories=()), max_size=200), st.integers(1, 400))
def test_whatever_is_said_fits_into_an_event_and_wakes_nobody(text, times):
    for content in (reply(text * times, "$r", "$e"), edit(text * times, "$r", "$e")):
        assert len(json.dumps(content, ensure_ascii=False).encode()) < 60_000
        assert content["m.mentions"] == {}
        assert content["msgtype"] == "m.notice"
        said = event() | {"content": content | {"m.mentions": {"user_ids": [ME]}}}
        assert judge(ROOM, said, facts()).kind is Kind.IGNORE


def test_long_texts_and_tokens_are_cut():
    assert bounded("x" * 30_000).endswith("[9520 characters left out]")
    assert "AKIA" not in bounded("the key is AKIA" + "A" * 16)
    assert bounded("\x00") == "(nothing)"


def test_a_reply_is_known_by_its_sender_and_its_event():
    own = {"sender": ME, "content": reply("x", "$r", "$e")}
    assert answers(own, ME, "$e")
    assert not answers(own, ME, "$f")
    assert not answers(own | {"sender": ALICE}, ME, "$e")
    assert not answers({"sender": ME, "content": edit("x", "$r", "$e")}, ME, "$e")
    assert transaction("$e", "end") == transaction("$e", "end") != transaction("$f", "end")


@given(st.lists(st.integers(0, 200_000), max_size=30), st.integers(1, 10), st.integers(0, 200_000))
def test_no_minute_has_more_messages_than_the_limit(said, limit, now):
    said = [each for each in said if each <= now]
    at = now + wait_ms(said, limit, now)
    assert len([each for each in said if at - 60_000 < each]) < limit
    assert may_tell(said, limit, now) is (len([s for s in said if s > now - 60_000]) < limit // 2)


@pytest.mark.parametrize("back_s", [0, 1, 3600, 400 * 86_400])
async def test_a_clock_that_was_put_back_silences_it_for_a_minute_at_most(tmp_path, back_s):
    """Ten messages, the clock is set right, and an answer waits for its turn, however far ahead."""
    now, waited, sent = [NOW / 1000], [], []

    async def sleep(seconds):
        waited.append(seconds)
        assert sum(waited) <= 60
        now[0] += seconds

    async def send(room, content, txn):
        sent.append(txn)
        return "$said"

    document = policy(messaging={"messagesPerMinute": 10})
    with Inbox(tmp_path / "rooms") as inbox:
        voice = Voice(SimpleNamespace(send=send), inbox, lambda: document, clock_of(now), sleep)
        for number in range(10):
            await voice.say(ROOM, {}, f"t{number}")
        now[0] -= back_s
        assert not waited
        assert await voice.say_now(ROOM, {}, "progress") is None
        assert not voice.may_tell()
        await voice.say(ROOM, {}, "answer")
        assert (sum(waited), sent[-1]) == (60, "answer"), "the limit holds, and ends"
        assert voice.may_tell()


def clock_of(now):
    return Clock(wall=lambda: now[0])


def test_a_message_goes_to_a_target_that_policy_allows():
    found = order(able(), SAY, ME, 0, lambda: "id")
    assert found == Order(ROOM, message("hello"))


@pytest.mark.parametrize(
    ("document", "arguments", "why"),
    [
        (policy(**TEAM), SAY, "policy refuses"),
        (able(), {**SAY, "target": "nowhere"}, "policy refuses"),
        (able(), {**SAY, "text": " "}, "a text has"),
        (able(), {**SAY, "text": "x" * 20_481}, "a text has"),
        (able(), {**SAY, "room": "!c:x.org"}, "the arguments are"),
        (able(), {**SAY, "text": 1}, "the arguments are"),
        (able(), {**SAY, "peer": "dev", "protocol": "tasks"}, "no message to a peer"),
        (able(), {**SAY, "peer": "dev"}, "no such peer"),
    ],
)
def test_a_message_that_is_not_sent(document, arguments, why):
    assert str(order(document, arguments, ME, 0, lambda: "id")).startswith(why)


def test_a_message_to_a_peer_goes_to_its_room_by_its_protocol():
    to = {**SAY, "peer": "dev", "protocol": "tasks"}
    found = order(able(), to, ME, 3, lambda: "id")
    assert isinstance(found, Order)
    assert found.content["org.agency.envelope"] == {
        "version": 1, "from": ME, "to": PEER, "protocol": "tasks", "id": "id", "hops": 3,
    }  # fmt: skip
    assert isinstance(order(able(), {**to, "target": "far"}, ME, 3, lambda: "id"), str)
    assert isinstance(order(able(), {**to, "protocol": "x"}, ME, 3, lambda: "id"), str)


def test_two_agents_that_answer_each_other_come_to_an_end():
    """Each sends a message to the other for each that it gets; only hops stop them."""
    to = {**SAY, "peer": "dev", "protocol": "tasks"}
    hops, sent = 3, 0
    while isinstance(found := order(able(), to, ME, hops, lambda: "id"), Order):
        sent += 1
        assert sent < 10
        back = dict(found.content["org.agency.envelope"]) | {"from": PEER, "to": ME}
        said = event("x", **{"org.agency.envelope": back}) | {"sender": PEER}
        verdict = judge(ROOM, said, facts(envelopes=True))
        hops = 0 if verdict.envelope is None else verdict.envelope.hops - 1
    assert sent == 3


async def test_without_targets_there_is_no_tool():
    async def post(room, content):
        return len(content["body"]) < 6

    tool = SendMessage(able, ME, 0, lambda: "id", post)
    assert [each.name for each in await tool.list()] == [NAME]
    assert (await tool.call(NAME, SAY)).text == "sent"
    assert (await tool.call(NAME, {**SAY, "text": "too many"})).failed
    assert (await tool.call("other", SAY)).failed
    assert await SendMessage(policy, ME, 0, lambda: "id", post).list() == ()


async def test_tools_of_the_rooms_are_beside_those_of_the_gateway():
    class Gateway:
        async def list(self):
            return (Tool(NAME, "of somebody else"), Tool("web__fetch", "x"))

        async def call(self, name, arguments):
            return Outcome(f"gateway: {name}")

    async def post(room, content):
        return True

    both = BothTools(SendMessage(able, ME, 0, lambda: "id", post), Gateway())
    assert [each.name for each in await both.list()] == [NAME, "web__fetch"]
    assert (await both.call(NAME, SAY)).text == "sent"
    assert (await both.call("web__fetch", {})).text == "gateway: web__fetch"


def test_what_was_before_the_agent_joined_is_left_out():
    def member(now, before):
        return {
            "type": "m.room.member", "state_key": ME, "content": {"membership": now},
            "unsigned": {"prev_content": {"membership": before}},
        }  # fmt: skip

    old, new = event("old"), event("new")
    assert since_joined([old, member("join", "invite"), new], ME) == ([new], True)
    assert since_joined([old, member("join", "join"), new], ME)[1] is False
    timeline = {"events": [old, 1], "limited": True, "prev_batch": "p"}
    answer = {
        "next_batch": "n",
        "rooms": {"join": {ROOM: {"timeline": timeline}}, "invite": {"!c": {}}},
    }
    batch = read_batch(answer, ME)
    assert (batch.rooms[0].events, batch.rooms[0].gap, batch.invited) == ([old], "p", ("!c",))
    for nonsense in ({}, {"next_batch": 1}, {"next_batch": ""}):
        assert read_batch(nonsense, ME) is None
    assert read_batch({"next_batch": "n", "rooms": [1]}, ME).rooms == ()
