"""The keeper of the control room notes what it lacks, tries again, and follows it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from sqlalchemy.exc import OperationalError

from agency.clock import Clock
from agency.control.conditions import Code, Conditions
from agency.control.service.upkeep import RoomUpkeep
from agency.matrix import Backoff, Finding, Lack, MatrixError, RoomLostError, RoomState

ABSENT = Finding(Lack.AGENT, "@agent-pm:x", "pm is banned", "unban it")


@dataclass
class Room:
    """A room whose next states a test chooses; the last one stays."""

    states: list[RoomState | Exception] = field(default_factory=lambda: [RoomState("!r:x")])
    asked: list[str | None] = field(default_factory=list)
    moves: list[str] = field(default_factory=list)

    async def ensure(self, known: str | None) -> RoomState:
        self.asked.append(known)
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if isinstance(state, Exception):
            raise state
        return state

    async def moved(self, room_id: str) -> None:
        self.moves.append(room_id)


@pytest.fixture
def conditions(clock: Clock) -> Conditions:
    return Conditions(clock)


def keeper(room: Room, conditions: Conditions, **more: object) -> RoomUpkeep:
    return RoomUpkeep(room.ensure, conditions, room.moved, room_id="!r:x", **more)  # type: ignore[arg-type]


def codes(conditions: Conditions) -> list[Code]:
    return [each.code for each in conditions.present()]


async def test_finding_is_a_condition_until_it_is_mended(conditions: Conditions) -> None:
    room = Room([RoomState("!r:x", (ABSENT,)), RoomState("!r:x")])
    upkeep = keeper(room, conditions)
    assert not await upkeep.check()
    assert codes(conditions) == [Code.AGENT_ABSENT]
    assert await upkeep.check()
    assert codes(conditions) == []


async def test_conditions_of_others_stay(conditions: Conditions) -> None:
    conditions.note(Code.EVENTS_DROPPED, "dropped")
    conditions.note(Code.TRANSACTION_REFUSED, "muted", blocks=True)
    assert await keeper(Room(), conditions).check()
    assert set(codes(conditions)) == {Code.EVENTS_DROPPED, Code.TRANSACTION_REFUSED}


async def test_room_that_cannot_be_entered_blocks(conditions: Conditions) -> None:
    lost = RoomLostError("banned", where="x", status=403, hint="unban the bot")
    room = Room([lost, RoomState("!r:x")])
    upkeep = keeper(room, conditions)
    assert not await upkeep.check()
    (condition,) = conditions.present()
    assert (condition.code, condition.blocks, condition.hint) == (
        Code.ROOM_LOST,
        True,
        "unban the bot",
    )
    assert await upkeep.check()
    assert codes(conditions) == []


async def test_homeserver_that_is_away_changes_no_condition(conditions: Conditions) -> None:
    room = Room([RoomState("!r:x", (ABSENT,)), MatrixError("away", where="x")])
    upkeep = keeper(room, conditions)
    await upkeep.check()
    assert not await upkeep.check()
    assert codes(conditions) == [Code.AGENT_ABSENT], "not known to be over"


async def test_room_that_was_replaced_is_followed(conditions: Conditions) -> None:
    room = Room([RoomState("!new:x")])
    upkeep = keeper(room, conditions)
    await upkeep.check()
    await upkeep.check()
    assert room.moves == ["!new:x"]
    assert room.asked == ["!r:x", "!new:x"]


async def test_move_that_the_store_does_not_take_is_tried_again(conditions: Conditions) -> None:
    room = Room([RoomState("!new:x")])
    upkeep = keeper(room, conditions)
    kept = upkeep.moved

    async def refuse(_room_id: str) -> None:
        raise OperationalError("x", None, Exception("disk full"))

    upkeep.moved = refuse
    assert not await upkeep.check()
    upkeep.moved = kept
    assert await upkeep.check()
    assert room.moves == ["!new:x"]


async def test_operator_who_left_is_a_condition_until_they_are_back(conditions: Conditions) -> None:
    left = Finding(Lack.OPERATOR, "@alice:x", "alice left", "")
    room = Room([RoomState("!r:x", (left,)), RoomState("!r:x")])
    upkeep = keeper(room, conditions)
    await upkeep.check()
    assert codes(conditions) == [Code.OPERATOR_ABSENT]
    await upkeep.check()
    assert codes(conditions) == []
    assert room.asked == ["!r:x", "!r:x"]


async def test_it_waits_long_when_all_is_well_and_wakes(conditions: Conditions) -> None:
    room = Room()
    upkeep = keeper(room, conditions, spacing_s=0.0)
    running = asyncio.create_task(upkeep.run())
    await asyncio.sleep(0.05)
    assert room.asked == [], "it was just set up"
    for number in range(1, 4):
        upkeep.wake()
        await asyncio.sleep(0.02)
        assert len(room.asked) == number
    running.cancel()


async def test_what_is_not_mended_is_tried_less_and_less_often(conditions: Conditions) -> None:
    room = Room([RoomState("!r:x", (ABSENT,))])
    moments: list[float] = []
    backoff = Backoff(first_s=0.002, longest_s=0.02, jitter=lambda: 1.0)
    upkeep = keeper(room, conditions, backoff=backoff, spacing_s=0.0)
    loop = asyncio.get_running_loop()
    await upkeep.check()
    ensure, tried = room.ensure, asyncio.Event()

    async def timed(known: str | None) -> RoomState:
        moments.append(loop.time())
        if len(moments) == 7:
            tried.set()
        return await ensure(known)

    upkeep.ensure = timed
    running = asyncio.create_task(upkeep.run())
    async with asyncio.timeout(10):
        await tried.wait()
    running.cancel()
    gaps = [later - sooner for sooner, later in pairwise(moments)]
    waits = [backoff.delay_s(failure) for failure in range(2, 8)]
    assert all(gap >= wait - 0.001 for gap, wait in zip(gaps, waits, strict=True)), gaps
    assert waits[0] < waits[-1] == 0.02


async def test_new_room_counts_although_something_in_it_cannot_be_made(
    conditions: Conditions,
) -> None:
    room = Room([MatrixError("away", where="x", status=503), RoomState("!new:x")])
    upkeep = keeper(room, conditions)

    async def ensure(known: str | None) -> RoomState:
        await upkeep.entered("!new:x")
        return await room.ensure(known)

    upkeep.ensure = ensure
    assert not await upkeep.check()
    assert (room.moves, upkeep.room_id) == (["!new:x"], "!new:x")
    assert await upkeep.check()
    assert room.moves == ["!new:x"], "once"
    assert room.asked == ["!r:x", "!new:x"]
