"""A command whose message is deleted before it begins does not run, whenever that comes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from desk import ALICE, BOB, Desk, strict
from sqlalchemy import text

from agency.control.execution.result import Invocation, RefusalError, Result
from agency.control.operations import Operations, State

STOP = "!agency agents stop pm"
WITHDRAWN = (ALICE, "agents stop", "withdrawn")


class Gate:
    """A handler of `agents start` that waits until it is let go."""

    def __init__(self, desk: Desk) -> None:
        self.began, self.go_on = asyncio.Event(), asyncio.Event()
        desk.handlers["agents start"] = self.start

    async def start(self, _invocation: Invocation) -> Result:
        self.began.set()
        await self.go_on.wait()
        return Result("started")


async def behind_a_start(desk: Desk, event: dict[str, Any]) -> tuple[Gate, Operations]:
    """Let a start run, and `event` wait behind it."""
    gate = Gate(desk)
    await desk.take(desk.event("!agency agents start pm"), event)
    operations = desk.make_operations()
    await operations.step()
    await asyncio.wait_for(gate.began.wait(), 10)
    return gate, operations


@pytest.mark.parametrize("deleted", [False, True])
async def test_deleted_while_it_waits_in_the_inbox(desk: Desk, deleted: bool) -> None:
    event = desk.event(STOP)
    await desk.take(event)
    operations = desk.make_operations()
    if deleted:
        assert await desk.delete(operations, event["event_id"], ALICE)
        assert not await desk.delete(operations, event["event_id"], ALICE), "and once only"
    await desk.finish(operations)
    await desk.settle()
    assert len(desk.calls) == len(await desk.said()) == (not deleted)
    outcomes = await desk.outcomes()
    assert (outcomes == [(ALICE, "command", "withdrawn")]) is deleted
    if deleted:
        assert (await desk.details())[0]["said"] == STOP
    assert await desk.unfinished() == 0


@pytest.mark.parametrize("deleted", [False, True])
async def test_deleted_while_it_waits_for_its_turn(desk: Desk, deleted: bool) -> None:
    event = desk.event(STOP)
    gate, operations = await behind_a_start(desk, event)
    if deleted:
        assert await desk.delete(operations, event["event_id"], BOB)
        assert operations.active == 1, "its place in the queue is free"
    gate.go_on.set()
    await desk.finish(operations)
    assert len(desk.calls) == (not deleted)
    assert ((BOB, "agents stop", "withdrawn") in await desk.outcomes()) is deleted
    assert len(await desk.said()) == (1 if deleted else 2)
    assert await desk.unfinished() == 0


@pytest.mark.parametrize("deleted", [False, True])
async def test_deleted_commands_take_no_place_in_a_queue(desk: Desk, deleted: bool) -> None:
    desk.max_target_queue = 2
    events = [desk.event(STOP) for _ in range(2)]
    gate, operations = await behind_a_start(desk, events[0])
    await desk.take(events[1])
    await operations.step()
    if deleted:
        for each in events:
            assert await desk.delete(operations, each["event_id"], ALICE)
    await desk.take(desk.event(STOP))
    await operations.step()
    gate.go_on.set()
    await desk.finish(operations)
    assert len(desk.calls) == (1 if deleted else 2)
    refused = [each.get("code") for each in await desk.details()].count("queue-full")
    assert refused == (not deleted)


async def test_deleted_between_its_turn_and_its_beginning(desk: Desk) -> None:
    """The queue has let go of it, and the store has not marked it as running."""
    event = desk.event(STOP)
    await desk.take(event)
    operations = desk.make_operations()
    begin = operations._recorder.begin

    class Late:
        def __getattr__(self, name: str) -> Any:
            return getattr(operations._recorder, name)

        async def begin(self, *arguments: Any, **options: Any) -> Any:
            assert await desk.delete(operations, event["event_id"], ALICE)
            return await begin(*arguments, **options)

    operations._changes.recorder = Late()  # type: ignore[assignment]  # all else is the recorder's
    await desk.finish(operations)
    assert desk.calls == []
    assert await desk.outcomes() == [WITHDRAWN]
    assert await desk.said() == []


async def test_deleted_between_its_reading_and_its_admission(desk: Desk) -> None:
    event = desk.event(STOP)
    await desk.take(event)
    operations = desk.make_operations()
    keep = operations._recorder.keep

    class Late:
        def __getattr__(self, name: str) -> Any:
            return getattr(operations_recorder, name)

        async def keep(self, *arguments: Any, **options: Any) -> Any:
            assert await desk.delete(operations, event["event_id"], ALICE)
            return await keep(*arguments, **options)

    operations_recorder = operations._recorder
    operations._dispatcher.recorder = Late()  # type: ignore[assignment]  # all else is the recorder's
    await desk.finish(operations)
    await desk.settle()
    assert desk.calls == []
    assert await desk.outcomes() == [(ALICE, "command", "withdrawn")]


async def test_deleted_while_it_waits_for_an_approval(desk: Desk) -> None:
    event = desk.event("!agency agents start pm")
    await desk.take(event)
    operations: Any = strict(desk)
    await desk.finish(operations)
    (waiting,) = operations._approvals.waiting
    operations._approvals.most = 1
    assert await desk.delete(operations, event["event_id"], ALICE)
    with pytest.raises(RefusalError, match="no operation"):
        await operations.grant(waiting, BOB)
    assert not operations._approvals.is_full, "its place is free"
    await desk.settle()
    assert desk.calls == []
    assert await desk.states() == {}


async def test_what_has_begun_goes_on(desk: Desk) -> None:
    stop, start = desk.event(STOP), desk.event("!agency agents start pm")
    gate = Gate(desk)
    await desk.take(start, stop)
    operations = desk.make_operations()
    await operations.step()
    await asyncio.wait_for(gate.began.wait(), 10)
    assert not await desk.delete(operations, start["event_id"], ALICE)
    gate.go_on.set()
    await desk.finish(operations)
    assert not await desk.delete(operations, stop["event_id"], ALICE), "it is done"
    assert not await desk.delete(operations, "$unknown", ALICE)
    assert [row[2] for row in await desk.outcomes()] == ["accepted", "done"] * 2


async def test_it_stays_withdrawn_when_the_process_ends_right_after(desk: Desk) -> None:
    event = desk.event(STOP)
    gate, operations = await behind_a_start(desk, event)
    await desk.delete(operations, event["event_id"], ALICE)
    await operations.close()
    gate.go_on.set()
    await desk.settle()
    assert desk.calls == []
    assert WITHDRAWN in await desk.outcomes()
    states = await desk.database.read(lambda c: c.scalars(text("SELECT state FROM operations")))
    assert State.WITHDRAWN in [*states]


async def test_stranger_cannot_fill_the_audit_log_by_deleting(desk: Desk) -> None:
    event = desk.event(STOP, sender="@eve:x.org")
    await desk.take(event)
    operations = desk.make_operations()
    assert not await desk.delete(operations, event["event_id"], "@eve:x.org")
    await desk.finish(operations)
    assert [row[2] for row in await desk.outcomes()] == ["refused"]
