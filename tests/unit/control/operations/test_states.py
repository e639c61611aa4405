"""Each state is taken up by the next start as it should be."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from desk import ALICE
from sqlalchemy import text

from agency.control.commands import parse
from agency.control.execution.result import Invocation, RefusalError, Result
from agency.control.operation import FINAL
from agency.control.operations import Operation, Origin, OriginKind, State
from agency.control.policy import SYSTEM
from agency.control.store import agents, operations, pruning
from agency.control.store.agents import Desired, InventoryChange


def made(desk: Any, said: str, state: State, number: int = 1, **changes: Any) -> Operation:
    now = desk.clock.now_ms()
    origin = Origin(OriginKind.MATRIX, f"$x{number}", now, "!control:x.org", f"$x{number}")
    command = parse(said)
    operation = Operation(
        origin=origin,
        actor=ALICE,
        action=command.name,
        said=said,
        target=command.text("agent") or "",
        trace=f"t-x{number}",
        created_ts=now,
        deadline_ts=now + 600_000,
        state=state,
    )
    return replace(operation, **changes)


async def record(desk: Any, *each: Operation) -> None:
    now = desk.clock.now_ms()
    await desk.database.write(lambda c: [operations.add(c, one, now) for one in each])


async def state_of(desk: Any, operation: Operation) -> str:
    statement = text("SELECT state FROM operations WHERE id = :id")
    found = await desk.database.read(lambda c: c.scalar(statement, {"id": operation.id}))
    return str(found)


START = "!agency agents start pm"


@pytest.mark.parametrize(
    ("said", "state", "calls", "ended", "rows"),
    [
        (START, State.PROPOSED, ["agents start"], "done", ["accepted", "done"]),
        ("!agency agents status pm", State.PROPOSED, ["agents status"], "done", ["done"]),
        (START, State.GRANTED, ["agents start"], "done", ["accepted", "done"]),
        (START, State.RUNNING, [], "failed", ["interrupted"]),
        (START, State.WAITING, [], "waiting", []),
        (START, State.DONE, [], "done", []),
        (START, State.REFUSED, [], "refused", []),
        (START, State.EXPIRED, [], "expired", []),
        (START, State.FAILED, [], "failed", []),
    ],
)
async def test_next_start_takes_it_up(
    desk: Any, said: str, state: State, calls: list[str], ended: str, rows: list[str]
) -> None:
    operation = made(desk, said, state)
    await record(desk, operation)
    for _ in range(2):
        await desk.settle()
        assert desk.calls == [f"{call} by {ALICE}" for call in calls]
        assert await state_of(desk, operation) == ended
        assert [row[2] for row in await desk.outcomes()] == rows
    assert len(await desk.said()) == (1 if rows else 0)


async def test_what_ran_is_answered_before_what_waited_behind_it(desk: Any) -> None:
    waiting = made(desk, "!agency agents stop pm", State.GRANTED, 1)
    ran = made(desk, START, State.RUNNING, 2)
    await record(desk, waiting, ran)
    await desk.settle()
    assert desk.calls == [f"agents stop by {ALICE}"]
    assert [row[1:] for row in await desk.outcomes()] == [
        ("agents start", "interrupted"),
        ("agents stop", "accepted"),
        ("agents stop", "done"),
    ]


@pytest.mark.parametrize("late", [False, True])
async def test_granted_too_long_ago_it_expires(desk: Any, late: bool) -> None:
    operation = made(desk, START, State.GRANTED)
    await record(desk, operation)
    desk.held.seconds += 601 if late else 599
    await desk.settle()
    assert await state_of(desk, operation) == ("expired" if late else "done")
    (reply,) = await desk.said()
    assert ("the limit is 10 minutes" in reply["body"]) is late
    assert len(desk.calls) == (not late)


@pytest.mark.parametrize("changed", [False, True])
async def test_operation_that_was_changed_on_record_does_not_run(desk: Any, changed: bool) -> None:
    operation = made(desk, "!agency agents stop pm", State.GRANTED)
    await record(desk, operation)
    if changed:
        change = text("UPDATE operations SET command = '!agency agents stop developer'")
        await desk.database.write(lambda c: c.execute(change))
    await desk.settle()
    assert len(desk.calls) == (not changed)
    assert await state_of(desk, operation) == ("refused" if changed else "done")
    (reply,) = await desk.said()
    assert ("changed after it was admitted" in reply["body"]) is changed


@pytest.mark.parametrize("state", [State.PROPOSED, State.GRANTED, State.RUNNING])
async def test_command_that_this_agency_does_not_know_is_answered(desk: Any, state: State) -> None:
    """A newer agency may have left it there."""
    operation = replace(made(desk, START, state), said="!agency agents juggle pm")
    await record(desk, operation)
    await desk.settle()
    assert await state_of(desk, operation) in ("refused", "failed")
    assert len(await desk.said()) == 1
    assert desk.calls == []


async def test_event_that_ran_under_an_older_agency_is_answered_and_not_run(desk: Any) -> None:
    """It kept no operations, and marked the event itself."""
    await desk.take(desk.event(START), desk.event("!agency ping"))
    mark = text("UPDATE inbox SET state = 'running' WHERE sequence = 1")
    await desk.database.write(lambda c: c.execute(mark))
    await desk.settle()
    assert desk.calls == [f"ping by {ALICE}"]
    assert sorted(row[2] for row in await desk.outcomes()) == ["done", "interrupted"]
    bodies = sorted(content["body"] for content in await desk.said())
    assert "was not run again. Seen now: pm is stopped." in bodies[0]
    assert await desk.unfinished() == 0


async def test_old_event_that_nobody_understands_any_more_is_answered(desk: Any) -> None:
    await desk.take(desk.event("!agency juggle pm"))
    mark = text("UPDATE inbox SET state = 'running'")
    await desk.database.write(lambda c: c.execute(mark))
    await desk.settle()
    (reply,) = await desk.said()
    assert reply["body"].endswith("it was not run again.")
    assert [row[2] for row in await desk.outcomes()] == ["interrupted"]
    assert await desk.unfinished() == 0


async def test_state_is_changed_from_the_one_that_is_on_record_only(desk: Any) -> None:
    from agency.errors import InternalError

    operation = made(desk, START, State.GRANTED)
    await record(desk, operation)
    now = desk.clock.now_ms()
    running = replace(operation, state=State.RUNNING)
    await desk.database.write(lambda c: operations.move(c, operation, running, now))
    with pytest.raises(InternalError, match="is no longer granted"):
        await desk.database.write(lambda c: operations.move(c, operation, running, now))


async def test_refused_message_leaves_no_operation(desk: Any) -> None:
    await desk.say(START, sender="@eve:x.org")
    await desk.say("!agency agents strat pm")
    count = text("SELECT count(*) FROM operations")
    assert await desk.database.read(lambda c: c.scalar(count)) == 0
    await desk.say("!agency ping")
    assert await desk.database.read(lambda c: c.scalar(count)) == 1


async def test_what_ended_long_ago_is_pruned_and_nothing_else(desk: Any) -> None:
    for number, state in enumerate(State):
        await record(desk, made(desk, START, state, number))
    later = desk.clock.now_ms() + 1
    pruned = await desk.database.write(lambda c: pruning.prune(c, later))
    assert pruned.operations == len(FINAL)
    assert sum((await desk.states()).values()) == len(State) - len(FINAL)
    assert (await desk.database.write(lambda c: pruning.prune(c, later))).operations == 0


def asked(desk: Any, number: int = 1, kind: OriginKind = OriginKind.CLI) -> Origin:
    return Origin(kind, f"call-{number}", desk.clock.now_ms())


@pytest.mark.parametrize("said", [START, "!agency ping"])
async def test_answer_goes_back_to_who_asked(desk: Any, said: str) -> None:
    front = desk.make_operations()
    asking = asyncio.create_task(front.ask(parse(said), asked(desk), ALICE, "t-9"))
    while not await front.step():
        if asking.done():
            break
        await front.rest()
        await asyncio.sleep(0)
    reply = await asyncio.wait_for(asking, 20)
    assert (reply.ok, reply.text) == (True, f"did {parse(said).name}")
    assert await desk.said() == [], "no room hears of it"
    again = await desk.make_operations().ask(parse(said), asked(desk), ALICE, "t-10")
    assert again == reply, "asked twice, it is one operation"
    assert len(desk.calls) == 1
    assert (await desk.details())[-1]["cause"] == "cli"


async def test_proposal_is_run_by_the_next_start(desk: Any) -> None:
    await desk.make_operations().propose(parse(START), asked(desk), ALICE, "t-9")
    assert await desk.states() == {State.PROPOSED: 1}
    await desk.settle()
    assert len(desk.calls) == 1


async def test_proposals_are_bounded(desk: Any) -> None:
    front = desk.make_operations()
    await front.step()
    for number in range(100):
        await front.propose(parse("!agency ping"), asked(desk, number), ALICE, "t-9")
    with pytest.raises(RefusalError, match="too many commands are under way"):
        await front.ask(parse("!agency ping"), asked(desk, 100), ALICE, "t-9")
    await desk.finish(front)
    await front.propose(parse("!agency ping"), asked(desk, 100), ALICE, "t-9")
    await desk.finish(front)
    assert len(desk.calls) == 101


async def test_proposal_of_a_stranger_is_refused(desk: Any) -> None:
    front = desk.make_operations()
    made_by_eve = await front.propose(parse(START), asked(desk), "@eve:x.org", "t-9")
    await desk.finish(front)
    assert desk.calls == []
    assert await state_of(desk, made_by_eve) == "refused"
    assert (await desk.details())[-1]["code"] == "not-an-operator"


@pytest.mark.parametrize(
    ("kind", "desired"), [(OriginKind.RECONCILE, Desired.RUNNING), (OriginKind.CLI, "stopped")]
)
async def test_reconciler_does_not_change_what_is_wanted(
    desk: Any, kind: OriginKind, desired: Desired
) -> None:
    await desk.database.write(lambda c: agents.synchronise(c, {"pm"}, 1))
    wanted = InventoryChange("pm", Desired.RUNNING, "app", "running", 7)
    await desk.database.write(lambda c: agents.apply(c, wanted, 1))

    async def failing(_invocation: Invocation) -> Result:
        return Result(
            "no", changes=(InventoryChange("pm", Desired.STOPPED, None, "stopped", None),)
        )

    desk.handlers["agents start"] = failing
    front = desk.make_operations()
    start = parse(f"{START} --project=app")
    await front.propose(start, asked(desk, kind=kind), SYSTEM, "t-9")
    await desk.finish(front)
    (record,) = await desk.database.read(agents.records)
    assert (record.desired, record.observed) == (desired, "stopped")


async def want(desk: Any) -> None:
    """Make the agent wanted, and let `agents stop` record that the agent shall be stopped."""

    async def stop(_invocation: Invocation) -> Result:
        desk.calls.append("stop")
        stopped = InventoryChange("pm", Desired.STOPPED, None, "stopped", None)
        return Result("stopped", changes=(stopped,))

    await desk.database.write(lambda c: agents.synchronise(c, {"pm"}, 1))
    wanted = InventoryChange("pm", Desired.RUNNING, "app", "running", "7")
    await desk.database.write(lambda c: agents.apply(c, wanted, 1))
    desk.handlers["agents stop"] = stop


@pytest.mark.parametrize(
    ("said", "calls"),
    [("!agency agents stop pm", ["stop"]), ("!agency ping", [f"ping by {ALICE}", "start"])],
)
async def test_reconciler_does_not_start_what_was_stopped_before_its_turn(
    desk: Any, said: str, calls: list[str]
) -> None:
    """A stop that waited when the control plane ended is run before the reconciler's start."""
    await want(desk)

    async def start(_invocation: Invocation) -> Result:
        desk.calls.append("start")
        return Result("started")

    desk.handlers["agents start"] = start
    await desk.take(desk.event(said))
    earlier = desk.make_operations()
    earlier.stop()  # what it stores does not begin
    await earlier.step()
    await earlier.rest()
    assert await desk.states() == ({State.GRANTED: 1} if "stop" in calls else {})
    front = desk.make_operations()
    start = parse(f"{START} --project=app")
    again = await front.propose(start, asked(desk, kind=OriginKind.RECONCILE), SYSTEM, "t-9")
    await desk.finish(front)
    assert desk.calls == calls
    state = await state_of(desk, again)
    assert state == ("refused" if "stop" in calls else "done")
