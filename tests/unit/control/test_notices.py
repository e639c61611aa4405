"""The room is told once of what degrades and once of what heals, within bounds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agency.clock import Clock
from agency.control.conditions import Code, Conditions
from agency.control.rooms.speaking import Speaker
from agency.control.service.notices import MOST_AN_HOUR, Kept, Notices, decode, encode
from agency.control.store.outbox import StoredMessage
from agency.store import Database

PM, BOB = "@agent-pm:x", "@bob:x"


class Told:
    """The notices that were handed over, and the parts of the run that makes them."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database, self.clock = database, clock
        self.messages: list[StoredMessage] = []
        self.room_id: str | None = "!r:x"
        self.numbers = iter(range(10**6))
        self.start()

    def start(self, max_outbox: int = 1000) -> None:
        self.conditions = Conditions(self.clock)
        self.notices = Notices(
            Speaker(
                database=self.database,
                clock=self.clock,
                room_id=lambda: self.room_id,
                as_user="@agency:x",
                new_trace=lambda: f"t-{next(self.numbers)}",
                say=self.messages.append,
                max_outbox=max_outbox,
            ),
            self.conditions,
        )

    @property
    def bodies(self) -> list[str]:
        return [each.message.content["body"] for each in self.messages]

    def absent(self, subject: str = PM) -> None:
        self.conditions.note(
            Code.AGENT_ABSENT, f"{subject} is banned", subject=subject, hint=f"unban {subject}"
        )


@pytest.fixture
def told(database: Database, clock: Clock) -> Told:
    return Told(database, clock)


async def test_each_change_is_told_once(told: Told) -> None:
    told.absent()
    for _ in range(3):
        assert await told.notices.tell() == 0
    told.conditions.clear(Code.AGENT_ABSENT, PM)
    for _ in range(3):
        await told.notices.tell()
    assert told.bodies == [
        f"Degraded: {PM} is banned. To mend it: unban {PM}",
        f"Mended: {PM} is banned",
    ]
    assert told.messages[0].message.content["msgtype"] == "m.notice"


async def test_what_is_known_is_not_told_again_after_a_restart(told: Told) -> None:
    told.absent()
    await told.notices.tell()
    told.start()
    await told.notices.restore()
    told.absent()
    await told.notices.tell()
    assert len(told.bodies) == 1
    told.conditions.clear(Code.AGENT_ABSENT, PM)
    await told.notices.tell()
    assert told.bodies[1:] == [f"Mended: {PM} is banned"]


async def test_acknowledgement_lasts_until_it_comes_back(told: Told) -> None:
    told.absent()
    assert told.conditions.acknowledge(Code.AGENT_ABSENT) == 1
    await told.notices.tell()
    told.start()
    await told.notices.restore()
    told.absent()
    (condition,) = told.conditions.present()
    assert condition.acknowledged
    told.conditions.clear(Code.AGENT_ABSENT, PM)
    told.absent()
    assert not told.conditions.present()[0].acknowledged


async def test_what_blocks_is_not_acknowledged_and_not_restored(told: Told) -> None:
    told.conditions.note(Code.ROOM_LOST, "lost", blocks=True)
    assert told.conditions.acknowledge(Code.ROOM_LOST) == 0
    await told.notices.tell()
    told.start()
    await told.notices.restore()
    assert told.conditions.present() == ()


async def test_what_comes_and_goes_is_told_a_few_times_an_hour(told: Told, held: Any) -> None:
    for number in range(50):
        if number % 2:
            told.conditions.clear(Code.AGENT_ABSENT, PM)
        else:
            told.absent()
        await told.notices.tell()
    assert len(told.bodies) == MOST_AN_HOUR
    told.absent()
    wait_s = await told.notices.tell()
    assert 0 < wait_s <= 3600
    held.seconds += wait_s
    await told.notices.tell()
    assert len(told.bodies) == MOST_AN_HOUR + 1, "the last state is told in the end"


async def test_many_at_once_are_one_short_message(told: Told) -> None:
    for number in range(60):
        told.absent(f"@agent-{number}:x")
    await told.notices.tell()
    (body,) = told.bodies
    assert len(body.splitlines()) == 11
    assert "and 50 more" in body


async def test_full_outbox_and_no_room_are_waited_for(told: Told) -> None:
    told.start(max_outbox=0)
    told.absent()
    assert await told.notices.tell() > 0
    told.notices.speaker = replace(told.notices.speaker, max_outbox=10)
    told.room_id = None
    assert await told.notices.tell() > 0
    told.room_id = "!r:x"
    assert await told.notices.tell() == 0
    assert len(told.bodies) == 1


def test_unknown_kinds_of_another_version_are_left_out() -> None:
    kept = decode('{"warnings": [["of-later", "", "x", "", 1, false]], "told": []}')
    assert kept.warnings == ()


async def test_control_characters_of_others_are_spelled_out(told: Told) -> None:
    told.conditions.note(Code.ALIAS_LOST, "bad\x1b[2J\u202e")
    await told.notices.tell()
    assert "\x1b" not in told.bodies[0]
    assert "\u202e" not in told.bodies[0]


async def test_notice_names_people_and_calls_none_of_them(told: Told) -> None:
    told.absent()
    await told.notices.tell()
    content = told.messages[0].message.content
    assert PM in content["body"]
    assert content["m.mentions"] == {}


@pytest.mark.parametrize(
    "kept",
    ["", "no JSON", "[]", "{}", '{"warnings": [[1]], "told": []}', '{"warnings": 1, "told": [1]}'],
)
def test_what_another_version_kept_does_not_keep_the_control_plane_from_starting(
    kept: str,
) -> None:
    assert decode(kept) == Kept()
    assert decode(encode(Kept(told={("a", "b"): "c"}))).told == {("a", "b"): "c"}
