"""Any sequence of transactions, with any ids: each event is answered exactly once.

A homeserver repeats transactions, counts from 1 again after a restart on SQLite, sends events anew
in other transactions, and mixes in what is no command and what is no event.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from desk import Desk
from hypothesis import given, settings
from hypothesis import strategies as st

from agency.clock import Clock
from agency.control.conditions import Code
from agency.control.store import audit, schema
from agency.store import migrate, open_database

COMMANDS = tuple(range(6))
TALK, MALFORMED = "talk", "malformed"

event_sets = st.lists(st.sampled_from([*COMMANDS, TALK, MALFORMED]), max_size=4)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("deliver"), st.integers(1, 3), event_sets),
        st.tuples(st.just("counter starts again")),
        st.tuples(st.just("control plane restarts")),
        st.tuples(st.just("settle")),
    ),
    max_size=12,
)


async def play(sequence: list[tuple[Any, ...]]) -> None:
    clock = Clock(wall=lambda: 1_800_000_000.0, steady=lambda: 0.0)
    with tempfile.TemporaryDirectory() as place:
        database = open_database(f"sqlite+aiosqlite:///{Path(place) / 'control.db'}")
        try:
            await migrate(database, schema.SCHEMA)
            await database.write(lambda connection: audit.open_log(connection, "test", clock))
            await check(Desk(database, clock, None), sequence)
        finally:
            await database.close()


async def check(desk: Desk, sequence: list[tuple[Any, ...]]) -> None:
    commands = {number: desk.event("!agency ping") for number in COMMANDS}
    delivered: set[int] = set()
    dropped = transactions = counter = 0
    for step in sequence:
        match step:
            case ("deliver", ahead, content):
                counter += ahead - 2  # the same id again, an older one, or the next one
                raw: list[Any] = [
                    commands[each]
                    if isinstance(each, int)
                    else (desk.event("hello") if each == TALK else {"type": "m.room.message"})
                    for each in content
                ]
                await desk.take(*raw, txn=str(max(counter, 0)))
                delivered |= {each for each in content if isinstance(each, int)}
                dropped += content.count(MALFORMED)
                transactions += MALFORMED in content
            case ("counter starts again",):
                counter = 0
            case ("control plane restarts",):
                desk.intake = desk.make_intake()
            case _:
                await desk.settle()
    await desk.settle()
    answered = [each["org.agency.reply"]["command"] for each in await desk.said()]
    assert sorted(answered) == sorted(commands[each]["event_id"] for each in delivered)
    assert len(desk.calls) == len(delivered)
    rows = [row for row in await desk.outcomes() if row[1] == "events dropped"]
    assert len(rows) == transactions, "a row for each transaction with events that were dropped"
    warned = [each.code for each in desk.conditions.present()]
    assert warned == [Code.EVENTS_DROPPED] * bool(dropped)


@given(steps)
@settings(max_examples=40, deadline=None)
def test_each_event_is_answered_exactly_once(sequence: list[tuple[Any, ...]]) -> None:
    asyncio.run(play(sequence))
