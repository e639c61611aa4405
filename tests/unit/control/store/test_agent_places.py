"""The slot, port and account of an agent that a command made are its own, whoever writes them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from agency.control.store import agents
from agency.control.store.agents import Creation, Deletion, TakenError
from agency.store import Database

ONE = Creation("one", "x", "x", "@one:x.org", 20001, "@a:x.org", slot="slot-1")
TWO = Creation("two", "x", "x", "@two:x.org", 20002, "@a:x.org", slot="slot-2")
SHARED = pytest.mark.parametrize(
    "shared", [{"slot": "slot-1"}, {"port": 20001}, {"matrix_id": "@one:x.org"}]
)


async def make(database: Database, made: Creation | Deletion) -> None:
    await database.write(lambda c: agents.apply(c, made, 1))


@SHARED
async def test_what_another_has_is_refused_until_that_is_deleted(
    database: Database, shared: dict[str, Any]
) -> None:
    await make(database, ONE)
    with pytest.raises(TakenError, match="the agent one has the slot, the port or the account"):
        await make(database, replace(TWO, **shared))
    assert await database.read(agents.created) == [ONE]
    await make(database, TWO)
    await make(database, Deletion("two"))
    await make(database, Deletion("one"))
    await make(database, replace(TWO, **shared))
    assert await database.read(agents.created) == [replace(TWO, **shared)]


async def test_any_number_have_no_slot(database: Database) -> None:
    await make(database, replace(ONE, slot=""))
    await make(database, replace(TWO, slot=""))
    assert len(await database.read(agents.created)) == 2


@SHARED
async def test_the_database_itself_refuses_it(database: Database, shared: dict[str, Any]) -> None:
    await make(database, ONE)
    await make(database, TWO)
    (column,) = shared
    statement = text(f"UPDATE created_agents SET {column} = :value WHERE name = 'two'")
    with pytest.raises(IntegrityError):
        await database.write(lambda c: c.execute(statement, {"value": shared[column]}))
    assert await database.read(agents.created) == [ONE, TWO]
