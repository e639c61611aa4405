"""Readiness over a real store: strangers learn one word, and cost the store little."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError

from agency.clock import Clock
from agency.control.appservice.readiness import Readiness
from agency.control.appservice.transactions import Intake
from agency.control.conditions import Code, Conditions
from agency.control.store import audit
from agency.matrix import MatrixError
from agency.store import Database

ROOM, BOT = "!r:x", "@agency:x"


class Homeserver:
    """A homeserver that is well, with the bot in its room."""

    async def request(self, _method: str, path: str, *_: Any) -> dict[str, Any]:
        if path.endswith("m.room.encryption"):
            raise MatrixError("none", where=path, status=404)
        return {"user_id": BOT, "joined_rooms": [ROOM]}


class Writes:
    """Count of the writes that prove the store; they fail while `lost` is set."""

    def __init__(self) -> None:
        self.number, self.lost = 0, False
        self._touch = audit.touch

    def __call__(self, connection: Connection) -> object:
        self.number += 1
        if self.lost:
            raise OperationalError("x", None, Exception("disk full"))
        return self._touch(connection)


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Writes:
    made = Writes()
    monkeypatch.setattr(audit, "touch", made)
    return made


@pytest.fixture
def readiness(database: Database, clock: Clock) -> Readiness:
    conditions = Conditions(clock)
    return Readiness(
        database=database,
        api=Homeserver(),  # type: ignore[arg-type]  # only its one call is made
        intake=Intake(
            database=database,
            clock=clock,
            new_trace=lambda: "t",
            looks_like_command=lambda _text: False,
            max_inbox=1,
            wake=asyncio.Event(),
            conditions=conditions,
        ),
        clock=clock,
        bot_id=BOT,
        room_id=lambda: ROOM,
        conditions=conditions,
    )


async def test_strangers_have_the_store_written_once_a_second(
    readiness: Readiness, writes: Writes, held: Any
) -> None:
    assert all([await readiness.is_ready() for _ in range(20)])
    assert writes.number == 1
    held.seconds += 2
    assert await readiness.is_ready()
    assert writes.number == 2


async def test_reader_of_the_details_sees_the_store_as_it_is(
    readiness: Readiness, writes: Writes
) -> None:
    assert (await readiness.observe())["ready"]
    writes.lost = True
    told = await readiness.observe()
    assert told["reasons"] == ["the database cannot be written: OperationalError"]
    assert told["database"] == {"writable": False}
    assert writes.number == 2


async def test_strangers_are_told_of_a_lost_store_and_of_its_return(
    readiness: Readiness, writes: Writes, held: Any
) -> None:
    assert await readiness.is_ready()
    writes.lost = True
    held.seconds += 2
    assert not await readiness.is_ready()
    writes.lost = False
    held.seconds += 0.5
    assert await readiness.is_ready()


async def test_condition_that_blocks_is_told_at_once(readiness: Readiness) -> None:
    assert await readiness.is_ready()
    readiness.conditions.note(Code.EVENTS_DROPPED, "dropped")
    assert await readiness.is_ready()
    readiness.conditions.note(Code.ROOM_LOST, "lost", blocks=True)
    assert not await readiness.is_ready()
