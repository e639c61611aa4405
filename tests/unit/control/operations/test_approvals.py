"""Operations that need an approval wait for it, across restarts, and no longer than they may.

No command has an approval rule yet; a policy of the test's own gives one to `agents start`.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from desk import ALICE, BOB, strict
from sqlalchemy import text

from agency.control.execution.result import RefusalError
from agency.control.operations import Operations, State

EVE = "@eve:x.org"


async def propose(desk: Any, operations: Operations | None = None) -> str:
    """Say a command that needs an approval; the id of its operation, which waits."""
    await desk.take(desk.event("!start-agent pm"))
    await desk.finish(operations or strict(desk))
    assert await desk.states() == {State.WAITING: 1}
    found = await desk.database.read(lambda c: c.scalar(text("SELECT id FROM operations")))
    return str(found)


async def test_it_waits_and_says_so(desk: Any) -> None:
    operation = await propose(desk)
    (notice,) = await desk.said()
    first, asked, effect, how = notice["body"].split("\n")
    assert first == f"Operation {operation} needs an approval, by the rule two-people."
    assert asked == f"{ALICE} asks: !agency agents start pm"
    assert effect == "pm was never commanded; after it pm is to run, with no project."
    assert f'"approve {operation[:9]}"' in how
    assert (notice["org.agency.reply"]["ok"], notice["org.agency.reply"]["final"]) == (True, False)
    assert await desk.outcomes() == [(ALICE, "agents start", "waiting")]
    assert desk.calls == []


async def test_what_waits_holds_nobody_up(desk: Any) -> None:
    operations = strict(desk)
    await propose(desk, operations)
    await desk.take(desk.event("!stop-agent pm"), desk.event("!agency ping"))
    await desk.finish(operations)
    assert desk.calls == [f"ping by {ALICE}", f"agents stop by {ALICE}"]


@pytest.mark.parametrize("restart", [False, True])
async def test_granted_by_another_it_runs_once(desk: Any, restart: bool) -> None:
    operations = strict(desk)
    operation = await propose(desk, operations)
    if restart:
        operations = strict(desk)
        await desk.finish(operations)
    await operations.grant(operation, BOB)
    await desk.finish(operations)
    assert desk.calls == [f"agents start by {ALICE}"]
    assert [(row[0], row[2]) for row in await desk.outcomes()] == [
        (ALICE, "waiting"),
        (BOB, "granted"),
        (ALICE, "accepted"),
        (ALICE, "done"),
    ]
    bodies = [content["body"] for content in await desk.said()]
    assert bodies[1:] == ["did agents start"]
    with pytest.raises(RefusalError, match="waits for an approval"):
        await operations.grant(operation, BOB)


@pytest.mark.parametrize(
    ("by", "said"),
    [(ALICE, "who asked for it"), (EVE, "is not an operator"), ("", "not an operator")],
)
async def test_not_everybody_may_approve(desk: Any, by: str, said: str) -> None:
    operations = strict(desk)
    operation = await propose(desk, operations)
    with pytest.raises(RefusalError, match=said):
        await operations.grant(operation, by)
    assert await desk.states() == {State.WAITING: 1}
    await operations.grant(operation, BOB)
    await desk.finish(operations)
    assert len(desk.calls) == 1


async def test_unknown_operation_is_not_approved(desk: Any) -> None:
    operations = strict(desk)
    await propose(desk, operations)
    with pytest.raises(RefusalError, match="no operation op-none waits"):
        await operations.grant("op-none", BOB)


@pytest.mark.parametrize("restart", [False, True])
async def test_nobody_approved_it_in_time(desk: Any, restart: bool) -> None:
    operations = strict(desk)
    operation = await propose(desk, operations)
    desk.held.seconds += 3599
    await desk.finish(operations)
    assert await desk.states() == {State.WAITING: 1}
    desk.held.seconds += 1
    with pytest.raises(RefusalError, match="its deadline has passed"):
        await operations.grant(operation, BOB)
    await desk.finish(strict(desk) if restart else operations)
    assert desk.calls == []
    _, final = await desk.said()
    assert final["body"] == "Nobody approved this in time, so it was not run."
    assert (final["org.agency.reply"]["ok"], final["org.agency.reply"]["final"]) == (False, True)
    assert [row[2] for row in await desk.outcomes()] == ["waiting", "expired"]
    assert await desk.unfinished() == 0


async def test_deadline_is_kept_though_nothing_else_happens(desk: Any) -> None:
    """The run loop wakes for it by itself."""
    operations = strict(desk)
    await propose(desk, operations)
    told = asyncio.Event()
    desk.say_to = lambda _message: told.set()
    again = strict(desk)
    desk.held.seconds += 3599.95
    running = asyncio.create_task(again.run())
    await asyncio.sleep(0.02)
    assert not told.is_set()
    desk.held.seconds += 0.05
    await asyncio.wait_for(told.wait(), 20)
    again.stop()
    await asyncio.wait_for(running, 20)
    assert [row[2] for row in await desk.outcomes()] == ["waiting", "expired"]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE operations SET command = '!agency agents start developer'",
        "UPDATE operations SET actor = '@bob:x.org'",
        "UPDATE operations SET target = 'developer'",
        "UPDATE operations SET deadline_ts = deadline_ts + 1",
        "UPDATE grants SET digest = 'of another'",
        "UPDATE grants SET operation_id = 'op-other'",
        "UPDATE grants SET spent_ts = 1",
        "DELETE FROM grants",
    ],
)
async def test_approval_is_of_that_operation_alone(desk: Any, change: str) -> None:
    """Granted, and changed on record before it begins: it does not run."""
    operations = strict(desk)
    operation = await propose(desk, operations)
    operations.stop()  # so that it is granted, and does not begin
    await operations.grant(operation, BOB)
    await operations.rest()
    assert await desk.states() == {State.GRANTED: 1}
    await desk.database.write(lambda c: c.execute(text(change)))
    await desk.finish(strict(desk))
    assert desk.calls == []
    assert (await desk.details())[-1]["code"] == "grant-void"
    assert [row[2] for row in await desk.outcomes()] == ["waiting", "granted", "refused"]
    assert await desk.unfinished() == 0


async def test_untouched_it_runs_after_the_restart(desk: Any) -> None:
    """The positive control of the table above."""
    operations = strict(desk)
    operation = await propose(desk, operations)
    operations.stop()
    await operations.grant(operation, BOB)
    await operations.rest()
    await desk.finish(strict(desk))
    assert desk.calls == [f"agents start by {ALICE}"]


async def test_approval_is_spent_in_the_transaction_that_sets_running(desk: Any) -> None:
    seen: list[Any] = []

    async def start(_invocation: Any) -> Any:
        statement = text("SELECT state, spent_ts FROM operations, grants")
        seen.extend(await desk.database.read(lambda c: c.execute(statement).all()))
        return await desk._handler("agents start")(_invocation)

    desk.handlers["agents start"] = start
    operations = strict(desk)
    operation = await propose(desk, operations)
    await operations.grant(operation, BOB)
    await desk.finish(operations)
    assert seen == [("running", desk.clock.now_ms())]


async def test_full_queue_refuses_the_approval_and_the_operation_waits_on(desk: Any) -> None:
    operation = await propose(desk)
    desk.max_target_queue = 0
    full = strict(desk)
    await desk.finish(full)
    with pytest.raises(RefusalError, match="Too many changes of pm wait"):
        await full.grant(operation, BOB)
    assert await desk.states() == {State.WAITING: 1}


async def test_only_so_many_wait(desk: Any) -> None:
    operations: Any = strict(desk)
    operations._approvals.most = 2
    await desk.take(*(desk.event("!start-agent pm") for _ in range(3)))
    await desk.finish(operations)
    assert await desk.states() == {State.WAITING: 2}
    assert [row[2] for row in await desk.outcomes()] == ["waiting", "waiting", "refused"]
    assert (await desk.details())[-1]["code"] == "too-many-waiting"
    assert (await desk.said())[-1]["body"].startswith("Too many operations wait for an approval")
    await operations.grant(next(iter(operations._approvals.waiting)), BOB)
    await desk.take(desk.event("!start-agent pm"))
    await desk.finish(operations)
    assert await desk.states() == {State.WAITING: 2}, "there was room again"
    assert len(desk.calls) == 1
