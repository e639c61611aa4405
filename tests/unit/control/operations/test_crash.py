"""What is left when the store fails, or the process ends, at each point of a command."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from breaking import break_table, mend_table

from agency.control.execution.result import Invocation, Result
from agency.control.store import agents, audit
from agency.control.store.agents import Desired, InventoryChange
from agency.control.store.audit import verify_chain


class EndedError(BaseException):
    """The process ends here."""


async def end_at(desk: Any, name: str) -> None:
    async def ending(_invocation: Invocation) -> Result:
        raise EndedError

    desk.handlers[name] = ending
    with pytest.raises(EndedError):
        await desk.settle()
    desk.handlers[name] = desk._handler(name)


async def test_reading_command_is_run_again_after_a_crash(desk: Any) -> None:
    await desk.take(desk.event("!agency ping"))
    await end_at(desk, "ping")
    await desk.settle()
    assert len(desk.calls) == 1
    assert [content["body"] for content in await desk.said()] == ["did ping"]
    assert [row[2] for row in await desk.outcomes()] == ["done"]


async def test_changing_command_is_not_run_again_but_answered_with_what_is_seen(desk: Any) -> None:
    await desk.take(desk.event("!agency agents start pm"))
    await end_at(desk, "agents start")
    await desk.settle()
    assert desk.calls == []
    (reply,) = await desk.said()
    assert reply["org.agency.reply"]["ok"] is False, reply["body"]
    assert "was not run again. Seen now: pm is stopped. Send it again" in reply["body"]
    assert [row[2] for row in await desk.outcomes()] == ["accepted", "interrupted"]


async def test_interrupted_command_is_settled_before_later_ones(desk: Any) -> None:
    await desk.take(desk.event("!agency agents start pm"))
    await end_at(desk, "agents start")
    await desk.take(desk.event("!agency agents stop pm"))
    await desk.settle()
    bodies = [content["body"] for content in await desk.said()]
    assert bodies[0].startswith("The control plane ended")
    assert bodies[1] == "did agents stop"


async def test_crash_before_acting_runs_it_once(desk: Any) -> None:
    """Between intake and execution nothing is marked: it simply runs."""
    await desk.take(desk.event("!agency agents start pm"))
    desk.intake = desk.make_intake()
    await desk.settle()
    assert len(desk.calls) == 1


async def break_audit(desk: Any) -> None:
    await desk.database.write(lambda c: break_table(c, "audit"))


async def mend_audit(desk: Any) -> None:
    await desk.database.write(lambda c: mend_table(c, "audit"))


async def test_command_is_not_run_while_the_audit_cannot_be_written(desk: Any) -> None:
    await desk.take(desk.event("!agency agents start pm"))
    await break_audit(desk)
    settling = asyncio.create_task(desk.settle())
    await asyncio.wait([settling], timeout=0.1)
    assert not settling.done()
    assert desk.calls == []
    assert await desk.unfinished() == 1
    await mend_audit(desk)
    await asyncio.wait_for(settling, 10)
    assert len(desk.calls) == 1
    assert [row[2] for row in await desk.outcomes()] == ["accepted", "done"]


async def test_result_is_recorded_as_soon_as_the_store_takes_it(desk: Any) -> None:
    broken = asyncio.Event()

    async def start(_invocation: Invocation) -> Result:
        desk.calls.append("start")
        await break_audit(desk)
        broken.set()
        return Result("started")

    desk.handlers["agents start"] = start
    await desk.take(desk.event("!agency agents start pm"))
    settling = asyncio.create_task(desk.settle())
    await asyncio.wait_for(broken.wait(), 10)
    await asyncio.wait([settling], timeout=0.1)
    assert not settling.done()
    assert await desk.said() == [], "nothing is said that is not on record"
    await mend_audit(desk)
    await asyncio.wait_for(settling, 10)
    assert desk.calls == ["start"], "and it was run once"
    assert [content["body"] for content in await desk.said()] == ["started"]


async def test_operations_go_on_when_the_store_is_back(desk: Any) -> None:
    await break_audit(desk)
    told = asyncio.Event()
    desk.say_to = lambda _message: told.set()
    operations = desk.make_operations()
    running = asyncio.create_task(operations.run())
    await desk.take(desk.event("!agency ping"))
    await asyncio.wait([running], timeout=0.1)
    assert await desk.said() == []
    await mend_audit(desk)
    await asyncio.wait_for(told.wait(), 10)
    assert [content["body"] for content in await desk.said()] == ["did ping"]
    operations.stop()
    await asyncio.wait_for(running, 10)


async def test_result_inventory_audit_and_reply_come_together_or_not_at_all(desk: Any) -> None:
    await desk.database.write(lambda c: agents.synchronise(c, {"pm"}, 1))

    async def start(_invocation: Invocation) -> Result:
        change = InventoryChange("pm", Desired.RUNNING, "new-app", "running", "7")
        return Result("started", changes=(change,))

    desk.handlers["agents start"] = start
    await desk.database.write(lambda c: break_table(c, "outbox"))
    await desk.take(desk.event("!agency agents start pm"))
    settling = asyncio.create_task(desk.settle())
    async with asyncio.timeout(10):
        while not await desk.outcomes():
            await asyncio.wait([settling], timeout=0.1)
    (record,) = await desk.database.read(agents.records)
    assert (record.project, record.handle) == (None, None), "the wish alone"
    assert [row[2] for row in await desk.outcomes()] == ["accepted"]
    await desk.database.write(lambda c: mend_table(c, "outbox"))
    await asyncio.wait_for(settling, 10)
    (record,) = await desk.database.read(agents.records)
    assert (record.desired, record.project, record.handle) == (Desired.RUNNING, "new-app", "7")
    rows = await desk.database.read(lambda c: audit.tail(c, 100))
    assert verify_chain(rows, instance="test").ok


async def test_stop_finishes_the_command_at_hand(desk: Any) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_invocation: Invocation) -> Result:
        reached.set()
        await go_on.wait()
        return Result("slow, but done")

    desk.handlers["agents start"] = slow
    operations = desk.make_operations()
    running = asyncio.create_task(operations.run())
    await desk.take(desk.event("!agency agents start pm"), desk.event("!agency agents stop pm"))
    await asyncio.wait_for(reached.wait(), 10)
    operations.stop()
    go_on.set()
    await asyncio.wait_for(running, 10)
    assert [content["body"] for content in await desk.said()] == ["slow, but done"]
    assert await desk.unfinished() == 1, "the next one waits for the next start"


async def test_abandoned_command_is_seen_as_interrupted_by_the_next_start(desk: Any) -> None:
    reached = asyncio.Event()

    async def endless(_invocation: Invocation) -> Result:
        reached.set()
        await asyncio.Event().wait()
        raise AssertionError

    desk.handlers["agents start"] = endless
    operations = desk.make_operations()
    running = asyncio.create_task(operations.run())
    await desk.take(desk.event("!agency agents start pm"))
    await asyncio.wait_for(reached.wait(), 10)
    operations.stop()
    operations.abandon()
    await asyncio.wait_for(running, 10)
    assert await desk.said() == []
    await desk.settle()
    assert [row[2] for row in await desk.outcomes()] == ["accepted", "interrupted"]
