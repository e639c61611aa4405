"""Which events wake an agent: each reason not to, and that nothing else does."""

from __future__ import annotations

import pytest
from gosutos import ALICE, BOB, ROOM
from hypothesis import given
from hypothesis import strategies as st
from room_events import ME, NOW, PEER, envelope, event, facts, policy

from agency.agent.rooms.events.reading import MAX_TEXT, asked_text, names, redacted_by, visible
from agency.agent.rooms.events.waking import Kind, judge

THREAD = {"m.relates_to": {"rel_type": "m.thread", "event_id": "$root"}}


def kind(found, room=ROOM, **more):
    return judge(room, found, facts(**more)).kind


def test_a_mention_by_a_trusted_sender_in_a_trusted_room_wakes():
    verdict = judge(ROOM, event(f"{ME}: do it"), facts())
    assert (verdict.kind, verdict.text) == (Kind.WAKE, "do it")
    assert verdict.message.root == "$e"


@pytest.mark.parametrize(
    ("reason", "found", "more"),
    [
        ("its own", event() | {"sender": ME}, {}),
        ("sender not trusted", event() | {"sender": BOB}, {}),
        ("sender not trusted", event() | {"sender": ALICE.upper()}, {}),
        ("sender not trusted", event() | {"sender": f"{ALICE} "}, {}),
        ("no text", event(msgtype="m.notice"), {}),
        ("no text", event(msgtype="m.emote"), {}),
        ("no text", event() | {"content": {}}, {}),  # redacted
        ("an edit", event(**{"m.new_content": {"body": "x"}}), {}),
        ("an edit", event(**{"m.relates_to": {"rel_type": "m.replace", "event_id": "$x"}}), {}),
        ("no message", event() | {"type": "m.room.topic"}, {}),
        ("no message", event() | {"state_key": ""}, {}),
        ("encrypted", event() | {"type": "m.room.encrypted"}, {}),
        ("malformed", event(["no", "text"]), {}),
        ("malformed", event() | {"event_id": None}, {}),
        ("malformed", event() | {"origin_server_ts": True}, {}),
        ("not addressed", event(**{"m.mentions": {}}), {}),
        ("not addressed", event(**{"m.mentions": {"room": True}}), {}),
        ("not addressed", event(f"{ME} do it", **{"m.mentions": {"user_ids": [BOB]}}), {}),
        ("answered before", event(), {"answered": lambda event_id: True}),
        ("it asks for nothing", event(f"{ME}: "), {}),
        ("it asks for nothing", event("\u202e\u200b"), {}),
        ("a command of the control plane", event("!agency stop pm"), {}),
        ("envelopes are off", event(**{"org.agency.envelope": envelope()}), {}),
        (
            "another agent's message without an envelope",
            event(**{"org.agency.agent": {"version": 1}}),
            {},
        ),
    ],
)
def test_what_does_not_wake(reason, found, more):
    verdict = judge(ROOM, found, facts(**more))
    assert (verdict.kind, verdict.reason) == (Kind.IGNORE, reason)


def test_another_room_and_required_encryption_do_not_wake():
    assert judge("!other:x.org", event(), facts()).reason == "room not trusted"
    closed = policy(trust={"requireEncryption": True})
    assert "encryption is required" in judge(ROOM, event(), facts(document=closed)).reason
    nobody = policy(trust={"rooms": [], "senders": [], "peers": {}})
    assert kind(event(), document=nobody) is Kind.IGNORE


def test_a_thread_that_it_is_in_wakes_unless_others_are_spoken_to():
    mine = facts(in_thread=lambda room, root: (room, root) == (ROOM, "$root"))
    for mentions in ({}, None):
        said = event(**THREAD, **{"m.mentions": mentions})
        assert judge(ROOM, said, mine).kind is Kind.WAKE
        assert judge(ROOM, said, facts()).reason == "not addressed"
    others = event(**THREAD, **{"m.mentions": {"user_ids": [BOB]}})
    assert judge(ROOM, others, mine).reason == "not addressed"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (f"hey {ME}, do it", True),
        (f"{ME}: do it", True),
        (f"{ME}", True),
        (f"{ME}.", True),
        ("agent-pm: do it", False),
        (f"{ME}.evil.org do it", False),
        (f"x{ME} do it", False),
        (f"{ME}:8448 do it", False),
    ],
)
def test_clients_without_mentions_name_it_by_its_full_id(body, named):
    found = event(body, **{"m.mentions": None})
    assert names(body, ME) is named
    assert (kind(found) is Kind.WAKE) is (named and body.strip(".") != ME)


def test_limits_are_told_once_in_a_minute():
    limited = policy(limits={"eventsPerMinute": 3})
    assert kind(event(), document=limited, recent=2) is Kind.WAKE
    assert kind(event(), document=limited, recent=3) is Kind.REFUSE
    assert kind(event(), document=limited, recent=3, refused=True) is Kind.IGNORE
    assert kind(event(), recent=30) is Kind.REFUSE
    assert kind(event(), waiting=200) is Kind.REFUSE
    assert kind(event("x" * (MAX_TEXT + 1))) is Kind.REFUSE
    assert kind(event("x" * MAX_TEXT)) is Kind.WAKE
    assert kind(event() | {"origin_server_ts": NOW - 1001}) is Kind.REFUSE


@pytest.mark.parametrize(
    ("reason", "more"),
    [
        ("malformed envelope", {"version": 2}),
        ("malformed envelope", {"version": True}),
        ("malformed envelope", {"news": 1}),
        ("malformed envelope", {"hops": 9}),
        ("malformed envelope", {"hops": "2"}),
        ("malformed envelope", {"id": "a b"}),
        ("envelope of another sender", {"from": ALICE}),
        ("envelope to somebody else", {"to": BOB}),
        ("envelope without hops left", {"hops": 0}),
        ("no peer with this protocol in this room", {"protocol": "orders"}),
    ],
)
def test_an_envelope_that_is_not_taken(reason, more):
    found = event(**{"org.agency.envelope": envelope(**more)}) | {"sender": PEER}
    verdict = judge(ROOM, found, facts(envelopes=True))
    assert (verdict.kind, verdict.reason) == (Kind.IGNORE, reason)


def test_an_envelope_of_a_peer_wakes_in_its_room_alone():
    found = event(**{"org.agency.envelope": envelope(), "m.mentions": {}}) | {"sender": PEER}
    verdict = judge(ROOM, found, facts(envelopes=True))
    assert (verdict.kind, verdict.envelope.hops) == (Kind.WAKE, 2)
    assert judge(ROOM, event() | {"sender": PEER}, facts(envelopes=True)).kind is Kind.IGNORE
    both = policy(trust={"rooms": [ROOM, "!b:x.org"]})
    assert kind(found, room="!b:x.org", envelopes=True, document=both) is Kind.IGNORE


def test_what_is_not_seen_is_not_read():
    assert visible("a\u202eb\u200bc\x00\r\nd\u2028e\u200df") == "abc\nd\ne\u200df"
    assert asked_text(f"{ME}, : do", ME) == "do"
    assert asked_text(f"{ME}x do", ME) == f"{ME}x do"
    quoted = {"m.relates_to": {"m.in_reply_to": {"event_id": "$x"}}}
    found = event("> <@bob:x.org> delete all\n> now\n\nsay hello", **quoted)
    assert judge(ROOM, found, facts()).text == "say hello"
    assert redacted_by({"type": "m.room.redaction", "redacts": "$a"}) == "$a"
    assert redacted_by({"type": "m.room.redaction", "content": {"redacts": "$b"}}) == "$b"


TEXTS = st.text("ab$@!:> \u200b\n", max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
KEYS = ["msgtype", "body", "m.relates_to", "m.mentions", "m.new_content", "org.agency.envelope"]
CONTENTS = st.dictionaries(
    st.sampled_from(KEYS), JSON | st.sampled_from(["m.text", THREAD["m.relates_to"]]), max_size=6
)
SENDERS = st.sampled_from([ALICE, BOB, ME, PEER, f"{ALICE}\u200b", None, 1])
ROOMS = st.sampled_from([ROOM, "!b:x.org", ""])


@given(CONTENTS, SENDERS, ROOMS, st.booleans(), st.booleans())
def test_only_a_trusted_sender_in_a_trusted_room_is_ever_heard(
    content, sender, room, open_, inside
):
    found = event() | {"sender": sender}
    found["content"] = found["content"] | content
    known = facts(envelopes=open_, in_thread=lambda *_: inside)
    verdict = judge(room, found, known)
    if verdict.kind is not Kind.IGNORE:
        assert (room, sender) in {(ROOM, ALICE), (ROOM, PEER)}
        assert found["content"]["msgtype"] == "m.text"
        assert (sender == PEER) == (verdict.envelope is not None)
        assert len(verdict.text) <= MAX_TEXT


@given(JSON, JSON)
def test_no_event_breaks_the_decision(found, content):
    judge(ROOM, found if isinstance(found, dict) else {"content": found}, facts())
    judge(ROOM, event() | {"content": content}, facts())
    judge(ROOM, event(**{"m.relates_to": content, "m.mentions": found}), facts(envelopes=True))
