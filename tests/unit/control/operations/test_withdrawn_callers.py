"""Whoever waits for an operation that is withdrawn is answered, and the reconciler goes on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from desk import ALICE, BOB, Desk, strict
from herd import Farm

from agency.control.api import views
from agency.control.commands import parse
from agency.control.entrance.enter import Asked, Entrance, enter
from agency.control.execution.result import Invocation, Result
from agency.control.operations import Operation, Operations, Origin, OriginKind, State
from agency.control.policy import SYSTEM, People, Policy
from agency.control.service.reconcile import reconcile
from agency.control.store import operations as stored
from agency.protocols import CommandOutcome

TOLD = "It was withdrawn before it began, so nothing was done."
START = "!agency agents start pm"


def called(front: Operations, desk: Desk, told: list[str]) -> asyncio.Task[Any]:
    """Give a command as `agency command` does, and wait for its answer."""
    asked = Asked(OriginKind.CLI, "one", "cli:root", START, desk.clock.now_ms())
    entrance = Entrance(front, desk.clock, lambda: "t-cli")
    return asyncio.create_task(enter(entrance, asked, told.append))


async def until_told(front: Operations, told: list[str]) -> None:
    while not told:
        await front.step()
        await asyncio.sleep(0)


@pytest.mark.parametrize("withdrawn", [True, False])
async def test_who_waits_past_the_room_is_answered_at_once(desk: Desk, withdrawn: bool) -> None:
    front, told = strict(desk), list[str]()
    call = called(front, desk, told)
    await asyncio.wait_for(until_told(front, told), 10)
    (waiting,) = front.decisions.waiting
    if withdrawn:
        await front.decisions.withdraw(waiting.id, "cli:root")
    else:
        await front.decisions.grant(waiting.id, ALICE)
        await desk.finish(front)
    answer = await asyncio.wait_for(call, 10)
    assert (answer.reply.text == TOLD) is withdrawn
    assert answer.outcome is (CommandOutcome.REFUSED if withdrawn else CommandOutcome.DONE)
    again = await asyncio.wait_for(called(front, desk, told), 10)
    assert (again.outcome, again.reply) == (answer.outcome, answer.reply), "and by its id later"
    shown = await desk.database.read(lambda c: views.find(c, waiting.id, desk.policy))
    assert shown is not None
    assert shown.reply is not None
    assert shown.reply.text == answer.reply.text, "and by HTTP"


async def test_withdrawn_as_its_turn_comes_it_is_answered_too(desk: Desk) -> None:
    """The store has it withdrawn before it begins, and nobody let go of it."""
    front = desk.make_operations()
    await desk.finish(front)
    origin = Origin(OriginKind.CLI, "one", desk.clock.now_ms())
    call = asyncio.create_task(front.ask(parse(START), origin, ALICE, "t-1"))
    recorder, forgotten = front._recorder, list[Operation]()

    class Late:
        def __getattr__(self, name: str) -> Any:
            return getattr(recorder, name)

        async def begin(self, operation: Operation, *more: Any, **options: Any) -> Any:
            await front.decisions.withdraw(operation.id, ALICE)
            return await recorder.begin(operation, *more, **options)

    front._changes.recorder = Late()  # type: ignore[assignment]  # all else is the recorder's
    object.__setattr__(front.decisions, "forget", forgotten.append)
    await asyncio.wait_for(front.wake.wait(), 10)
    await desk.finish(front)
    reply = await asyncio.wait_for(call, 10)
    assert (reply.ok, reply.text) == (False, TOLD)
    assert [each.state for each in forgotten] == [State.WITHDRAWN]
    assert desk.calls == []


async def its_turn_waits(farm: Farm, gate: asyncio.Event) -> Operation:
    """Have the reconciler ask for a start that waits until `gate` opens: for a person's change."""
    desk, operations, began = farm.desk, farm.operations, asyncio.Event()

    async def held(_invocation: Invocation) -> Result:
        began.set()
        await gate.wait()
        return Result("cancelled")

    class Later:
        """It looked before the person's change came, and asks after that has begun."""

        async def ask(self, *asked: Any) -> Any:
            await began.wait()
            return await operations.ask(*asked)

    desk.handlers["agents cancel"] = held
    farm.watch.mender.operations = Later()  # type: ignore[assignment]  # it calls nothing else
    await farm.watch.look()
    await desk.take(desk.event("!agency agents cancel pm", sender=BOB))
    while True:
        await operations.step()
        await asyncio.sleep(0.001)
        for each in await desk.database.read(stored.unfinished):
            if each.actor == SYSTEM and each.state is State.GRANTED:
                return each


@pytest.mark.parametrize("withdrawn", [True, False])
async def test_an_agent_whose_mending_was_withdrawn_is_mended_later(
    desk: Desk, withdrawn: bool
) -> None:
    """An admin may take back what the reconciler asked for; it asks again in its time."""
    desk.policy = Policy(People(frozenset({ALICE, BOB}), admins=frozenset({ALICE})))
    farm = Farm(desk)
    await farm.open()
    await farm.say(START)
    farm.herd.kill("pm")
    gate = asyncio.Event()
    mending = await asyncio.wait_for(its_turn_waits(farm, gate), 10)
    if withdrawn:
        await farm.operations.decisions.withdraw(mending.id, ALICE)
    gate.set()
    await asyncio.wait_for(farm.settle(), 10)
    assert not farm.watch.mender.is_at("pm")
    assert ("pm" in farm.herd.running) is not withdrawn
    desk.held.seconds += 700
    await farm.look()
    assert "pm" in farm.herd.running


async def test_a_start_waits_for_no_answer_to_what_was_withdrawn(desk: Desk) -> None:
    desk.policy = Policy(People(frozenset({ALICE, BOB}), admins=frozenset({ALICE})))
    farm = Farm(desk)
    await farm.open()
    await farm.say(START)
    farm.herd.kill("pm")
    await farm.open()
    front, targets = farm.operations, desk.targets
    assert targets is not None
    await desk.finish(front)
    starting = asyncio.create_task(
        reconcile(["pm"], targets, front, desk.clock, lambda: "t-starting")
    )
    while True:
        await asyncio.sleep(0.001)
        if found := await desk.database.read(stored.unfinished):
            break
    await front.decisions.withdraw(found[0].id, ALICE)
    await asyncio.wait_for(starting, 10)
    assert "pm" not in farm.herd.running
    await desk.finish(front)
    (told,) = [said for said in await farm.notices() if "At the start" in said]
    assert TOLD in told
