"""Decisions in the approvals room: the same policy, the same record, and no other commands."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from desk import ALICE, BOB, ROOM, Desk
from front import CAROL, PEOPLE, STOPS, VERA, Front
from sqlalchemy import text

from agency.control.operations import State
from agency.control.policy import Policy

BESIDE = "!approvals:x.org"


@pytest.fixture
def front(desk: Desk) -> Front:
    made = Front(desk, Policy(PEOPLE, (STOPS,)))
    listen(made)
    return made


def listen(front: Front) -> None:
    """Have an approvals room."""
    operations = front.operations
    operations.rules = replace(operations.rules, approvals_room=BESIDE)
    operations._dispatcher.asking_room = lambda: BESIDE


async def sent(front: Front) -> dict[str, str]:
    """Have the prompts sent; return the id of the event in each room."""
    made = {each.message.room_id: each.sequence for each in front.desk.spoken}
    statement = text("UPDATE outbox SET event_id = :event WHERE sequence = :which")

    def send(connection: Any) -> None:
        for room, which in made.items():
            connection.execute(statement, {"event": f"$prompt-{room[1:4]}", "which": which})

    await front.desk.database.write(send)
    return {room: f"$prompt-{room[1:4]}" for room in made}


def reaction(key: str, to: str, by: str, room: str) -> dict[str, Any]:
    relation = {"rel_type": "m.annotation", "event_id": to, "key": key}
    content = {"m.relates_to": relation}
    return {"type": "m.reaction", "sender": by, "room_id": room, "content": content}


async def test_the_prompt_stands_in_both_rooms(front: Front) -> None:
    await front.ask()
    spoken = [each.message for each in front.desk.spoken]
    assert [each.room_id for each in spoken] == [ROOM, BESIDE]
    assert spoken[0].content["body"] == spoken[1].content["body"]
    assert "say in the control room or the approvals room" in spoken[0].content["body"]
    assert spoken[1].content["msgtype"] == "m.text"


@pytest.mark.parametrize("room", [ROOM, BESIDE])
async def test_a_reaction_in_either_room_approves_once(front: Front, room: str) -> None:
    await front.ask()
    events = await sent(front)
    await front.say("", **reaction("✅", events[room], CAROL, room))
    assert front.stops == 1
    other = BESIDE if room == ROOM else ROOM
    await front.say("", **reaction("✅", events[other], BOB, other))
    assert front.stops == 1
    assert [row[0] for row in await front.desk.outcomes() if row[2] == "granted"] == [CAROL]


@pytest.mark.parametrize("suffix", ["-moved", "-alone", "-moved-alone"])
async def test_a_prompt_that_went_to_another_thread_is_decided_on_all_the_same(
    front: Front, suffix: str
) -> None:
    await front.ask()
    events = await sent(front)
    moved = text("UPDATE outbox SET txn_id = txn_id || :suffix")
    await front.desk.database.write(lambda c: c.execute(moved, {"suffix": suffix}))
    await front.say("", **reaction("✅", events[ROOM], CAROL, ROOM))
    assert front.stops == 1


async def test_what_begins_or_waits_is_on_record_by_its_digest(front: Front) -> None:
    await front.ask()
    events = await sent(front)
    await front.say("", **reaction("✅", events[ROOM], CAROL, ROOM))
    rows = zip(await front.desk.outcomes(), await front.desk.details(), strict=True)
    found = {row[2]: facts for row, facts in rows if row[1] == "agents stop"}
    waiting, granted, accepted = (found[each] for each in ("waiting", "granted", "accepted"))
    assert len(waiting["digest"]) == 64
    assert waiting["digest"] == granted["digest"] == accepted["digest"]
    assert waiting["operation"] == accepted["operation"]


async def test_it_is_answered_in_the_room_of_the_reaction(front: Front) -> None:
    await front.ask()
    events = await sent(front)
    await front.say("", **reaction("✅", events[BESIDE], CAROL, BESIDE))
    (answer,) = [
        each.message
        for each in front.desk.spoken
        if each.message.content["body"].startswith("Approved")
    ]
    assert answer.room_id == BESIDE
    assert answer.content["m.relates_to"]["event_id"] == events[BESIDE]


async def test_in_its_own_room_it_is_answered_in_the_thread_of_the_command(front: Front) -> None:
    await front.ask()
    events = await sent(front)
    await front.say("", **reaction("✅", events[ROOM], CAROL, ROOM))
    (answer,) = [
        each.message
        for each in front.desk.spoken
        if each.message.content["body"].startswith("Approved")
    ]
    asked = front.desk.spoken[0].message.content["m.relates_to"]["event_id"]
    assert answer.content["m.relates_to"]["event_id"] == asked


@pytest.mark.parametrize("by", [ALICE, VERA, "@eve:x.org", "@agent-pm:x.org"])
async def test_who_may_not_decide_may_not_there_either(front: Front, by: str) -> None:
    op = await front.ask()
    events = await sent(front)
    await front.say("", **reaction("✅", events[BESIDE], by, BESIDE))
    await front.say(f"approve {op}", by, room_id=BESIDE)
    assert front.stops == 0
    assert await front.states() == {State.WAITING: 1}


async def test_words_decide_there_and_nothing_else_is_taken(front: Front) -> None:
    op = await front.ask()
    for said in ("!agency agents stop pm", "!agency agents list", "!agency safe-mode on"):
        refused = await front.say(said, BOB, room_id=BESIDE)
        assert refused.startswith("Only approvals are decided here"), said
    codes = [each["code"] for each in await front.desk.details() if "code" in each]
    assert codes == ["approvals-room"] * 3
    assert front.desk.calls == []
    assert op in await front.say("!agency approvals list", VERA, room_id=BESIDE)
    await front.say(f"deny {op} not today", CAROL, room_id=BESIDE)
    assert await front.states() == {}
    assert f"{CAROL} denied this, so it was not run: not today" in await front.bodies()


async def test_a_room_that_is_none_of_ours_decides_nothing(front: Front) -> None:
    op = await front.ask()
    await front.desk.take(front.desk.event(f"approve {op}", sender=BOB, room_id="!other:x.org"))
    await front.desk.finish(front.operations)
    assert await front.states() == {State.WAITING: 1}
    await front.say(f"approve {op}", BOB, room_id=BESIDE)  # the positive control
    assert front.stops == 1


@pytest.mark.parametrize("quorum", [1, 2, 3])
async def test_a_grant_is_on_record_with_what_it_covers(front: Front, quorum: int) -> None:
    people = replace(PEOPLE, approvers=frozenset({CAROL, "@dan:x.org"}))
    front.start(Policy(people, (replace(STOPS, quorum=quorum),)))
    op = await front.ask()
    for by in (BOB, CAROL, "@dan:x.org")[:quorum]:
        await front.say(f"approve {op}", by)
    assert front.stops == 1
    rows = zip(await front.desk.outcomes(), await front.desk.details(), strict=True)
    granted = [facts for row, facts in rows if row[2] == "granted"]
    assert [each.get("approvals") for each in granted] == (
        [None] if quorum == 1 else [f"{number + 1} of {quorum}" for number in range(quorum)]
    )
    assert {each["operation"][:9] for each in granted} == {op}
    assert len({each["digest"] for each in granted}) == 1
