"""A caller that is cancelled, such as a closed HTTP request, leaves no operation that is stuck."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from desk import ALICE, BOB, Desk, strict
from sqlalchemy.engine import Connection

from agency.control.commands import parse
from agency.control.operations import Origin, OriginKind
from agency.store import Database

T = TypeVar("T")


class SlowDatabase:
    """A database whose callers learn late of what is committed already."""

    def __init__(self, real: Database) -> None:
        self.real = real
        self.committed = asyncio.Event()
        self.go_on = asyncio.Event()

    async def write(self, work: Callable[[Connection], T], *, flush: bool = True) -> T:
        made = await self.real.write(work, flush=flush)
        self.committed.set()
        await self.go_on.wait()
        return made

    async def read(self, work: Callable[[Connection], T]) -> T:
        return await self.real.read(work)

    async def close(self) -> None:
        await self.real.close()


async def cancel_once_stored(slow: SlowDatabase, call: asyncio.Task[object]) -> None:
    await asyncio.wait_for(slow.committed.wait(), 10)
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()
    slow.go_on.set()


async def test_proposal_is_taken_up(desk: Desk) -> None:
    slow = SlowDatabase(desk.database)
    operations = desk.make_operations()
    await desk.finish(operations)
    operations._proposals.database = slow
    origin = Origin(OriginKind.HTTP, "one", desk.clock.now_ms())
    command = parse("!agency agents start pm")
    call = asyncio.create_task(operations.propose(command, origin, ALICE, "t-1"))
    await cancel_once_stored(slow, call)
    await asyncio.wait_for(operations.wake.wait(), 10)
    await desk.finish(operations)
    assert desk.calls == [f"agents start by {ALICE}"]


async def test_granted_operation_is_run(desk: Desk) -> None:
    operations = strict(desk)
    await desk.take(desk.event("!start-agent pm"))
    await desk.finish(operations)
    (waiting,) = operations._approvals.waiting
    slow = SlowDatabase(desk.database)
    operations._approvals.database = slow
    call = asyncio.create_task(operations.grant(waiting, BOB))
    await cancel_once_stored(slow, call)
    await asyncio.wait_for(asyncio.gather(*operations._calls.tasks), 10)
    await desk.finish(operations)
    assert desk.calls == [f"agents start by {ALICE}"]
