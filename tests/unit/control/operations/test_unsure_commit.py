"""A server that is lost during a commit may have taken it: nothing is lost, doubled or stuck."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from desk import ALICE, BOB, Desk, strict
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError

from agency.control.commands import parse
from agency.control.operations import Origin, OriginKind
from agency.store import Database

T = TypeVar("T")


class UnsureDatabase:
    """A database whose `nth` commit is made, and reported as failed."""

    def __init__(self, real: Database, nth: int) -> None:
        self.real = real
        self.nth = nth
        self.commits = 0

    async def write(self, work: Callable[[Connection], T], *, flush: bool = True) -> T:
        made = await self.real.write(work, flush=flush)
        self.commits += 1
        if self.commits == self.nth:
            raise OperationalError("COMMIT", {}, Exception("the connection was lost"))
        return made

    async def read(self, work: Callable[[Connection], T]) -> T:
        return await self.real.read(work)

    async def close(self) -> None:
        await self.real.close()


START = [(ALICE, "agents start", "accepted"), (ALICE, "agents start", "done")]


@pytest.mark.parametrize("nth", [0, 1, 2, 3])
@pytest.mark.parametrize(
    ("said", "calls", "outcomes"),
    [
        ("!agency agents start pm", 1, START),
        ("!agency ping", 1, [(ALICE, "ping", "done")]),
        ("!agency pong", 0, [(ALICE, "command", "refused")]),
    ],
)
async def test_command_is_run_recorded_and_answered_once(
    desk: Desk, nth: int, said: str, calls: int, outcomes: list[tuple[str, str, str]]
) -> None:
    await desk.take(desk.event(said))
    desk.database = UnsureDatabase(desk.database, nth)
    await asyncio.wait_for(desk.settle(), 20)
    assert len(desk.calls) == calls
    assert await desk.outcomes() == outcomes
    assert len(desk.spoken) == len(await desk.said()) == 1
    assert await desk.unfinished() == 0


async def test_operation_that_waits_is_known_and_announced(desk: Desk) -> None:
    await desk.take(desk.event("!start-agent pm"))
    desk.database = UnsureDatabase(desk.database, 1)
    operations: Any = strict(desk)
    await asyncio.wait_for(desk.finish(operations), 20)
    assert len(desk.spoken) == 1, "the notice"
    (waiting,) = operations._approvals.waiting
    await operations.grant(waiting, BOB)
    await desk.finish(operations)
    assert len(desk.calls) == 1


async def test_proposal_made_again_is_taken_up_once(desk: Desk) -> None:
    operations = desk.make_operations()
    await desk.finish(operations)
    operations._proposals.database = UnsureDatabase(desk.database, 1)
    origin = Origin(OriginKind.HTTP, "one", desk.clock.now_ms())
    command = parse("!agency agents start pm")
    with pytest.raises(OperationalError):
        await operations.propose(command, origin, ALICE, "t-1")
    for _ in range(2):
        await operations.propose(command, origin, ALICE, "t-1")
    await desk.finish(operations)
    assert desk.calls == [f"agents start by {ALICE}"]
    assert await desk.outcomes() == START
