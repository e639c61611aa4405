"""Deleted messages, delivered in every order: the command runs unless it was deleted in time."""

from __future__ import annotations

from typing import Any

import pytest
from desk import ALICE, BOB, ROOM, Desk

from agency.control.commands import GRAMMAR
from agency.control.events import parse_redaction, parse_room_change
from agency.control.operations.admitting.admission import Bounds
from agency.control.rooms.deletions import Deletions

STOP = "!agency agents stop pm"
EVE = "@eve:x.org"


@pytest.fixture
def office(desk: Desk) -> Desk:
    """A desk whose intake takes back deleted commands."""
    desk.intake.take_back = Deletions(desk.clock, desk.policy, Bounds(GRAMMAR, 4096, 60.0))
    return desk


def deletion(of: dict[str, Any], *, by: str = ALICE, room: str = ROOM, old: bool = False) -> Any:
    """A redaction as rooms from version 11 on have it, or as those before."""
    content = {} if old else {"redacts": of["event_id"]}
    top = {"redacts": of["event_id"]} if old else {}
    kind = {"type": "m.room.redaction", "event_id": f"{of['event_id']}-gone", "room_id": room}
    return {**kind, "sender": by, "origin_server_ts": 1, "content": content, **top}


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("order", ["together", "reversed", "after", "before", "twice"])
async def test_deleted_command_does_not_run_in_whatever_order_it_comes(
    office: Desk, order: str, old: bool
) -> None:
    event = office.event(STOP)
    gone = deletion(event, old=old)
    transactions = {
        "together": [[event, gone]],
        "reversed": [[gone, event]],
        "after": [[event], [gone]],
        "before": [[gone], [event]],
        "twice": [[gone], [event, gone], [event]],
    }
    for events in transactions[order]:
        await office.take(*events)
    await office.settle()
    assert office.calls == []
    assert await office.said() == []
    assert [(who, outcome) for who, _, outcome in await office.outcomes()] == [(ALICE, "withdrawn")]
    assert (await office.details())[0]["said"] == STOP
    assert await office.unfinished() == 0


@pytest.mark.parametrize(
    ("by", "sender", "room", "runs"),
    [
        (ALICE, ALICE, ROOM, False),
        (BOB, ALICE, ROOM, False),
        (EVE, ALICE, ROOM, True),
        (ALICE, ALICE, "!other:x.org", True),
    ],
)
@pytest.mark.parametrize("early", [False, True])
async def test_sender_and_operators_take_back_and_nobody_else(
    office: Desk, by: str, sender: str, room: str, runs: bool, early: bool
) -> None:
    event = office.event(STOP, sender=sender)
    gone = deletion(event, by=by, room=room)
    for each in (gone, event) if early else (event, gone):
        await office.take(each)
    await office.settle()
    assert len(office.calls) == runs


async def test_early_deletion_by_a_stranger_takes_no_operators_place(office: Desk) -> None:
    event = office.event(STOP)
    for each in (deletion(event, by=EVE), deletion(event), event):
        await office.take(each)
    await office.settle()
    assert office.calls == []
    assert [(who, outcome) for who, _, outcome in await office.outcomes()] == [(ALICE, "withdrawn")]


async def test_talk_that_is_deleted_leaves_no_trace(office: Desk) -> None:
    for sender in (ALICE, EVE):
        talk = office.event("hello", sender=sender)
        await office.take(talk, deletion(talk, by=sender))
    await office.settle()
    assert await office.outcomes() == []


@pytest.mark.parametrize("redacts", [None, 5, "", "two words", ["$e"], {"$e": 1}])
async def test_malformed_deletion_holds_up_nobody(office: Desk, redacts: Any) -> None:
    event = office.event(STOP)
    broken = {**deletion(event), "content": {"redacts": redacts}}
    await office.take(broken, event)
    await office.settle()
    assert len(office.calls) == 1


def test_changes_that_matter_are_read() -> None:
    event = {"type": "m.room.member", "room_id": "!r:x", "sender": "@a:x", "state_key": "@b:x"}
    invited = parse_room_change({**event, "content": {"membership": "invite"}})
    assert invited is not None
    assert invited.invites == "@b:x"
    assert parse_room_change({**event, "type": "m.room.name", "content": {}}) is None
    assert parse_room_change({**event, "state_key": 5}) is None
    assert parse_redaction(event) is None
