"""Decisions on a room's state: who has power, who is silent, what replaces the room."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agency.matrix import power_levels
from agency.matrix.state.invitations import Call, call, may_accept
from agency.matrix.state.powers import power_plan
from agency.matrix.state.silence import silence
from agency.matrix.state.snapshot import Snapshot, read_snapshot
from agency.matrix.state.succession import is_announced, objection

BOT, ALICE, BOB, CAROL = "@agency:x.org", "@alice:x.org", "@bob:far.org", "@carol:x.org"
OPERATORS = (ALICE, BOB)


def event(kind: str, content: Any, *, key: str = "", sender: str = BOT, **more: Any) -> Any:
    return {"type": kind, "state_key": key, "content": content, "sender": sender, **more}


def member(who: str, membership: str, sender: str = "", **more: Any) -> Any:
    content = {"membership": membership}
    return event("m.room.member", content, key=who, sender=sender or who, **more)


def room(*events: Any, version: str = "11", creator: str = BOT, **made: Any) -> Snapshot:
    create = event("m.room.create", {"room_version": version, **made}, sender=creator)
    return read_snapshot([create, *events])


def powers(version: str = "11", creator: str = BOT, **changes: Any) -> Snapshot:
    levels = power_levels(BOT, OPERATORS, creator_is_listed=version != "12")
    users = {**levels["users"], **changes.pop("users", {})}
    content = {**levels, "users": users, **changes}
    return room(event("m.room.power_levels", content), version=version, creator=creator)


def plan(snapshot: Snapshot) -> Any:
    return power_plan(snapshot, BOT, OPERATORS)


@pytest.mark.parametrize("version", ["10", "11", "12"])
def test_room_as_the_instance_wants_it_is_left(version: str) -> None:
    found = plan(powers(version))
    assert (found.content, found.taken, found.out_of_reach) == (None, (), ())


@pytest.mark.parametrize("version", ["10", "12"])
@pytest.mark.parametrize("has", [1, 49, 50, 75, 99])
def test_whoever_is_no_operator_has_no_power(version: str, has: int) -> None:
    found = plan(powers(version, users={CAROL: has}))
    assert found.taken == (CAROL,)
    assert CAROL not in found.content["users"]
    assert found.content["users"][ALICE] == found.content["users"][BOB] == 50
    assert (BOT in found.content["users"]) is (version != "12")


@pytest.mark.parametrize(("version", "reachable"), [("10", False), ("12", True)])
def test_power_as_high_as_the_bots_is_reported_where_it_cannot_be_taken(
    version: str, reachable: bool
) -> None:
    found = plan(powers(version, users={CAROL: 100, "@dan:x.org": 50}))
    assert "@dan:x.org" in found.taken, "one that is out of reach keeps no other"
    assert (CAROL in found.taken) is reachable
    assert (found.out_of_reach == (CAROL,)) is not reachable
    assert (found.content["users"].get(CAROL) == 100) is not reachable


def test_operator_has_exactly_an_operators_power() -> None:
    found = plan(powers(users={ALICE: 90, BOB: 10}))
    assert found.content["users"] == {BOT: 100, ALICE: 50, BOB: 50}


def test_muted_person_stays_muted_and_a_muted_operator_does_not() -> None:
    found = plan(powers(users={CAROL: -1, ALICE: -1}))
    assert found.content["users"] == {BOT: 100, ALICE: 50, BOB: 50, CAROL: -1}
    assert found.taken == ()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("users_default", 50),
        ("events_default", 51),
        ("invite", 0),
        ("ban", 0),
        ("redact", 0),
        ("state_default", 0),
        ("events", {"m.room.power_levels": 0}),
        ("events", {"m.room.encryption": 50, "m.room.name": 50, "m.room.topic": 50}),
        ("events", {"m.room.message": 60, "m.room.name": 50, "m.room.topic": 50}),
    ],
)
@pytest.mark.parametrize("version", ["10", "12"])
def test_rules_that_give_or_take_power_are_put_back(version: str, key: str, value: Any) -> None:
    found = plan(powers(version, **{key: value}))
    wanted = power_levels(BOT, OPERATORS, creator_is_listed=version != "12")
    assert found.content == wanted
    assert plan(powers(version, notifications={"room": 7})).content is None, "not ours"


def test_bot_without_power_changes_nothing_and_says_who_keeps_his() -> None:
    found = plan(powers(users={BOT: 0, CAROL: 100, "@dan:x.org": 50}))
    assert found.content is None
    assert set(found.out_of_reach) == {CAROL, "@dan:x.org"}


def test_bot_of_little_power_changes_what_it_may() -> None:
    found = plan(
        powers(users={BOT: 60, CAROL: 55, "@dan:x.org": 70}, events={"m.room.power_levels": 60})
    )
    assert found.taken == (CAROL,)
    assert found.out_of_reach == ("@dan:x.org",)
    assert found.content["users"] == {BOT: 60, ALICE: 50, BOB: 50, "@dan:x.org": 70}
    assert found.content["state_default"] == 100, "above the bot: left as it is"


def test_other_creator_of_version_12_cannot_be_reached() -> None:
    found = power_plan(
        room(
            event("m.room.power_levels", {"users": {BOT: 100}, "state_default": 100}),
            version="12",
            creator="@admin:x.org",
            additional_creators=[ALICE],
        ),
        BOT,
        OPERATORS,
    )
    assert found.out_of_reach == ("@admin:x.org",)
    assert ALICE not in found.content["users"], "creators must not be listed"
    assert found.content["users"][BOB] == 50


anything = st.sampled_from([None, True, 5, "", "x", "-3", [], [None, "x"], {}, {"x": []}])
part = st.dictionaries(st.sampled_from([BOT, "m.room.message", "room_id"]), anything, max_size=2)
content = st.dictionaries(
    st.sampled_from(["users", "events", "deny", "allow", "membership", "predecessor", "ban"]),
    anything | part,
    max_size=3,
)
KINDS = ["create", "power_levels", "member", "tombstone", "server_acl", "encryption"]


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "type": st.sampled_from([f"m.room.{kind}" for kind in KINDS]) | anything,
                "state_key": st.sampled_from(["", BOT]) | anything,
                "content": content | anything,
                "sender": anything,
                "unsigned": anything,
            }
        )
        | anything,
        max_size=4,
    )
)
@settings(deadline=None)
def test_any_state_at_all_gives_a_decision(events: list[Any]) -> None:
    snapshot = read_snapshot(events)
    power_plan(snapshot, BOT, OPERATORS)
    silence(snapshot, BOT)
    json.dumps(power_plan(snapshot, BOT, OPERATORS).content)


# Silence


def speaking(*more: Any, membership: str = "join", sender: str = "", **levels: Any) -> Snapshot:
    content = power_levels(BOT, OPERATORS, creator_is_listed=True) | levels
    return room(event("m.room.power_levels", content), member(BOT, membership, sender), *more)


def test_bot_that_may_speak_is_not_silent() -> None:
    assert silence(speaking(), BOT) is None
    acl = event("m.room.server_acl", {"allow": ["*"], "deny": ["evil.org"]})
    assert silence(speaking(acl), BOT) is None
    assert silence(room(member(BOT, "join"), version="12"), BOT) is None


@pytest.mark.parametrize(
    ("snapshot", "says"),
    [
        (room(), "is not in the control room"),
        (speaking(membership="leave", sender=ALICE), f"no longer in the control room, by {ALICE}"),
        (speaking(membership="leave"), "no longer in the control room"),
        (speaking(membership="ban", sender=CAROL), f"was banned from the control room, by {CAROL}"),
        (speaking(membership="invite", sender=CAROL), "has not joined it"),
        (speaking(event("m.room.encryption", {"algorithm": "m.x"})), "encrypted"),
        (speaking(users={BOT: 0}, events_default=50), "may not speak"),
        (speaking(users={}, events={"m.room.message": 1}), "may not speak"),
        (speaking(users={BOT: -1}), "may not speak"),
        (speaking(event("m.room.server_acl", {"allow": ["*"], "deny": ["x.*"]})), "x.org out"),
        (speaking(event("m.room.server_acl", {"allow": []})), "x.org out"),
    ],
)
def test_what_silences_the_bot_is_named(snapshot: Snapshot, says: str) -> None:
    found = silence(snapshot, BOT)
    assert found is not None
    assert says in found.text
    assert found.hint


# Invitations


@pytest.mark.parametrize(
    ("membership", "before", "expected"),
    [
        ("", "", Call.INVITE),
        ("join", "invite", Call.PRESENT),
        ("invite", "leave", Call.PRESENT),
        ("leave", "join", Call.INVITE),
        ("leave", "", Call.INVITE),
        ("leave", "ban", Call.INVITE),
        ("leave", "invite", Call.DECLINED),
        ("ban", "join", Call.BANNED),
        ("knock", "leave", Call.INVITE),
    ],
)
def test_operator_is_invited_once_for_each_leave(
    membership: str, before: str, expected: Call
) -> None:
    events = [member(ALICE, membership)] if membership else []
    assert call(room(*events), ALICE, before) is expected


def test_operator_whose_invitation_somebody_took_back_is_invited_again() -> None:
    assert call(room(member(ALICE, "leave", BOB)), ALICE, "invite") is Call.INVITE


@pytest.mark.parametrize(
    ("membership", "by", "accepted"),
    [("invite", ALICE, True), ("invite", CAROL, False), ("leave", ALICE, False), ("ban", ALICE, 0)],
)
def test_bot_accepts_an_operators_invitation_and_no_other(
    membership: str, by: str, accepted: bool
) -> None:
    assert may_accept(room(member(BOT, membership, by)), BOT, OPERATORS) is bool(accepted)
    assert not may_accept(room(), BOT, OPERATORS)


# Succession

OLD, NEW = "!old:x", "!new:x"


def tombstone(to: Any = NEW, sender: str = "@admin:x.org") -> Any:
    return event("m.room.tombstone", {"replacement_room": to}, sender=sender)


@pytest.mark.parametrize(
    ("old", "alias", "ok"),
    [
        (room(tombstone()), NEW, True),
        (room(tombstone()), OLD, False),
        (room(tombstone()), None, False),
        (room(tombstone("!evil:x")), NEW, False),
        (room(tombstone(5)), NEW, False),
        (room(), NEW, False),
    ],
)
def test_successor_is_entered_if_tombstone_and_alias_agree(
    old: Snapshot, alias: str | None, ok: bool
) -> None:
    assert (is_announced(old, NEW, alias) is None) is ok


@pytest.mark.parametrize(
    ("creator", "predecessor", "ok"),
    [
        ("@admin:x.org", {"room_id": OLD}, True),
        (BOT, {"room_id": OLD}, True),
        (ALICE, {"room_id": OLD}, True),
        (CAROL, {"room_id": OLD}, False),
        ("@admin:x.org", {"room_id": "!other:x"}, False),
        ("@admin:x.org", None, False),
        ("@admin:x.org", "!old:x", False),
    ],
)
def test_successor_of_a_stranger_does_not_take_over(
    creator: str, predecessor: Any, ok: bool
) -> None:
    new = room(creator=creator, predecessor=predecessor)
    assert (objection(OLD, room(tombstone()), new, BOT, OPERATORS) is None) is ok
