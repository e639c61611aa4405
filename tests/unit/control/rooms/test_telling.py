"""Lines of the audit room, and the bounds on what it is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import text

from agency.control.rooms.speaking import Speaker
from agency.control.rooms.telling import MOST_LINES, is_told, line, message
from agency.control.service.teller import AuditTeller
from agency.control.store import audit, facts, outbox
from agency.control.store.audit import AuditEntry, AuditRow, Outcome
from agency.control.store.facts import Fact
from agency.control.store.outbox import Message
from agency.secrets import Redactor, SecretValue

ROOM = "!audit:x"
CANARY = "canary-3f1d9a77c0"
REDACT = Redactor([SecretValue(CANARY)]).redact


def row(**changes: Any) -> AuditRow:
    values = {
        "sequence": 7,
        "ts": "2027-01-15T08:00:00.000Z",
        "trace": "t1",
        "actor": "@alice:x",
        "action": "agents stop",
        "target": "pm",
        "outcome": "done",
        "detail": json.dumps({"said": "!agency agents stop pm"}),
        "previous": "",
        "hash": "",
    }
    return AuditRow(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "08:00:00 @alice:x: !agency agents stop pm: done (t1)"),
        ({"outcome": "granted"}, "08:00:00 @alice:x: !agency agents stop pm: approved (t1)"),
        ({"outcome": "waiting"}, "@alice:x: !agency agents stop pm: waits for an approval (t1)"),
        ({"outcome": "accepted"}, "!agency agents stop pm: began (t1)"),
        ({"detail": "{}"}, "08:00:00 @alice:x: agents stop pm: done (t1)"),
        ({"detail": "{}", "target": ""}, "08:00:00 @alice:x: agents stop: done (t1)"),
        ({"detail": "not JSON"}, "agents stop pm: done"),
        ({"detail": "[1]"}, "agents stop pm: done"),
        ({"detail": '{"said": 1}'}, "agents stop pm: done"),
    ],
)
def test_a_row_is_a_line(changes: dict[str, Any], said: str) -> None:
    assert said in line(row(**changes))


def test_a_line_is_bounded() -> None:
    assert len(line(row(detail=json.dumps({"said": "x" * 5000})))) <= 400
    assert "y" * 201 not in line(row(detail=json.dumps({"said": "y" * 500})))


def test_secrets_are_left_out() -> None:
    said = message([row(detail=json.dumps({"said": f"!agency deny op {CANARY}"}))], 0, REDACT)
    assert CANARY not in said
    assert "!agency deny op [***]" in said


@pytest.mark.parametrize(
    ("left_out", "said"), [(1, "one row is not told here"), (5, "5 rows are not told here")]
)
def test_what_is_left_out_is_counted(left_out: int, said: str) -> None:
    assert message([row()], left_out, REDACT).splitlines()[0].startswith(said)


def test_its_own_failures_are_not_told() -> None:
    assert not is_told(row(action="reply", target=ROOM), ROOM)
    assert is_told(row(action="reply", target="!other:x"), ROOM)
    assert is_told(row(action="agents stop", target=ROOM), ROOM)


class Telling:
    """A teller over a real store; `room` is where it may tell, if anywhere."""

    def __init__(self, database: Any, clock: Any, max_outbox: int = 100) -> None:
        self.database, self.clock, self.said = database, clock, []
        self.room: str | None = ROOM
        self.traces = iter(f"t{number}" for number in range(1000))
        self.teller = AuditTeller(
            Speaker(
                database,
                clock,
                room_id=lambda: self.room,
                as_user="@agency:x",
                new_trace=lambda: f"told-{next(self.traces)}",
                say=self.said.append,
                max_outbox=max_outbox,
            ),
            REDACT,
        )

    async def append(self, count: int, action: str = "ping", target: str = "") -> None:
        entry = AuditEntry("t", "@alice:x", action, target, Outcome.DONE)
        await self.database.write(lambda c: audit.append(c, self.clock, *[entry] * count))

    async def post(self) -> None:
        """Mark all as sent."""
        await self.database.write(lambda c: c.execute(text("UPDATE outbox SET state = 'sent'")))

    @property
    def lines(self) -> list[str]:
        return [each for stored in self.said for each in stored.message.content["body"].split("\n")]


@pytest.fixture
async def telling(database: Any, clock: Any) -> Telling:
    made = Telling(database, clock)
    await made.teller.begin()
    return made


async def test_each_row_is_told_once_and_none_from_before_the_room(telling: Telling) -> None:
    assert not await telling.teller.tell()
    await telling.append(3)
    assert await telling.teller.tell()
    await telling.post()
    assert not await telling.teller.tell()
    assert len(telling.lines) == 3
    await telling.teller.begin()  # a restart
    await telling.append(1)
    assert await telling.teller.tell()
    assert len(telling.lines) == 4


async def test_one_message_waits_at_a_time_and_each_is_bounded(telling: Telling) -> None:
    await telling.append(MOST_LINES + 5)
    assert await telling.teller.tell()
    assert not await telling.teller.tell(), "a second one waits already"
    assert len(telling.lines) == MOST_LINES
    await telling.post()
    assert await telling.teller.tell()
    assert len(telling.lines) == MOST_LINES + 5


async def test_what_it_cannot_keep_up_with_is_counted(telling: Telling) -> None:
    telling.room = None
    await telling.append(500)
    assert not await telling.teller.tell()
    telling.room = ROOM
    assert await telling.teller.tell()
    assert telling.lines[0].startswith("300 rows are not told here")


async def test_replies_go_first(database: Any, clock: Any) -> None:
    telling = Telling(database, clock, max_outbox=4)
    await telling.teller.begin()
    await telling.append(1)

    def fill(connection: Any) -> None:
        for number in range(3):
            made = Message(f"x{number}", "!control:x", "@agency:x", {}, "t")
            outbox.add(connection, made, clock.now_ms())

    await database.write(fill)
    assert not await telling.teller.tell()
    await telling.post()
    assert await telling.teller.tell()
    assert telling.said[0].message.lane == outbox.Lane.LAST


async def test_a_refused_message_is_not_told_for_ever(telling: Telling) -> None:
    await telling.append(1, action="reply", target=ROOM)
    assert not await telling.teller.tell()
    kept = await telling.database.read(lambda c: facts.read(c, Fact.AUDIT_TOLD))
    end = await telling.database.read(audit.head)
    assert kept == str(end.sequence)


async def test_a_backup_with_a_shorter_log_is_followed(telling: Telling) -> None:
    await telling.database.write(lambda c: facts.keep(c, Fact.AUDIT_TOLD, "999"))
    await telling.append(1)
    assert not await telling.teller.tell()
