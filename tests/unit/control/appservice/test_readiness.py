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


def serve(readiness: Readiness, **answers: Any) -> None:
    """Let the homeserver answer otherwise: by the last word of a call's path."""

    class Other(Homeserver):
        async def request(self, method: str, path: str, *rest: Any) -> dict[str, Any]:
            last = path.rpartition("/")[2].replace(".", "_")
            if last not in answers:
                return await super().request(method, path, *rest)
            answer = answers[last]
            if isinstance(answer, BaseException):
                raise answer
            found: dict[str, Any] = answer
            return found

    readiness.api = Other()  # type: ignore[assignment]  # only its one call is made


async def test_all_that_is_well_is_told(readiness: Readiness, held: Any) -> None:
    serve(readiness, ping={"duration_ms": 12})
    readiness.intake.last_received_ts = int(held.seconds * 1000) - 1500
    told = await readiness.observe()
    assert told["homeserver"] == {"reachable": True, "user": BOT, "ping_ms": 12}
    assert told["room"] == {"id": ROOM, "joined": True, "encrypted": False}
    assert told["database"] == {"writable": True, "took_s": 0.0}
    assert (told["inbox"], told["outbox"]) == ({"unfinished": 0}, told["outbox"])
    assert told["audit"]["count"] == 1
    assert told["last_transaction_age_s"] == 1.5
    assert set(told["versions"]) == {"agency", "python", "schema"}
    assert (told["ready"], told["reasons"]) == (True, [])


@pytest.mark.parametrize(
    ("answers", "reason", "room"),
    [
        (
            {"joined_rooms": {"joined_rooms": []}},
            "the bot is not in the control room",
            {"id": ROOM, "joined": False},
        ),
        (
            {"m_room_encryption": {"algorithm": "x"}},
            "the control room is encrypted; make a new one without encryption",
            {"id": ROOM, "joined": True, "encrypted": True},
        ),
        (
            {"m_room_encryption": MatrixError("lost", where="state", status=500)},
            "homeserver: state: lost",
            {"id": ROOM},
        ),
        (
            {"whoami": {"user_id": "@other:x"}},
            "the homeserver assigns the bot's token to another user",
            {"id": ROOM},
        ),
        (
            {"whoami": MatrixError("no", where="whoami", status=401)},
            "homeserver: whoami: no",
            {"id": ROOM},
        ),
        (
            {"ping": MatrixError("no way", where="ping", status=502)},
            "homeserver: ping: no way",
            {"id": ROOM},
        ),
        ({"joined_rooms": TimeoutError()}, "homeserver: no answer in time", {"id": ROOM}),
    ],
)
async def test_what_is_wrong_on_the_way_is_told(
    readiness: Readiness, answers: dict[str, Any], reason: str, room: dict[str, Any]
) -> None:
    serve(readiness, **answers)
    told = await readiness.observe()
    assert told["ready"] is False
    assert told["reasons"] == [reason]
    assert told["room"] == {**told["room"], **room}
    assert not await readiness.is_ready()


async def test_a_homeserver_that_is_gone_is_not_reachable(readiness: Readiness) -> None:
    serve(readiness, whoami=MatrixError("refused", where="whoami"))
    assert (await readiness.observe())["homeserver"] == {"reachable": False}


async def test_a_homeserver_without_the_ping_is_well(readiness: Readiness) -> None:
    serve(readiness, ping=MatrixError("none", where="ping", status=404, errcode="M_UNRECOGNIZED"))
    told = await readiness.observe()
    assert (told["ready"], told["homeserver"]["ping_ms"]) == (True, None)


async def test_a_room_that_is_not_there_yet_is_the_reason(readiness: Readiness) -> None:
    readiness.room_id = lambda: None
    told = await readiness.observe()
    assert told["reasons"] == ["the control room is not set up yet"]
    assert told["homeserver"] == {"reachable": False}
    assert told["room"] == {"id": None}


async def test_conditions_are_apart_by_what_they_stop_and_who_saw_them(
    readiness: Readiness, held: Any
) -> None:
    readiness.conditions.note(Code.ROOM_LOST, "lost", hint="invite it", blocks=True)
    readiness.conditions.note(Code.AGENT_FAILED, "failed", subject="pm", hint="look")
    readiness.conditions.note(Code.EVENTS_DROPPED, "dropped")
    readiness.conditions.acknowledge(Code.EVENTS_DROPPED)
    told = await readiness.observe()
    assert told["reasons"] == ["lost (invite it)"]
    (warning,) = told["warnings"]
    assert {**warning, "since": ""} == {
        "code": Code.AGENT_FAILED.value,
        "subject": "pm",
        "text": "failed",
        "hint": "look",
        "since": "",
    }
    assert [each["text"] for each in told["acknowledged"]] == ["dropped"]


async def test_numbers_are_those_of_the_details(readiness: Readiness, writes: Writes) -> None:
    found = await readiness.numbers()
    assert (found.ready, found.database_s, found.last_transaction_age_s) == (True, 0.0, None)
    assert found.outbox == (await readiness.observe())["outbox"]
    writes.lost = True
    readiness.conditions.note(Code.ROOM_LOST, "lost", blocks=True)
    await readiness.observe()
    found = await readiness.numbers()
    assert (found.ready, found.outbox, found.database_s) == (False, {}, None)
