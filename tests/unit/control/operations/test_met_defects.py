"""A defect that one command meets before it begins: it ends, answered and on record, alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from desk import ALICE, BOB, Desk, DeskTargets
from herd import Farm
from vaulting import Safe, master_key, wanted

from agency.control.commands import parse
from agency.control.execution.result import Invocation, RefusalError, Result
from agency.control.gosuto.planning import GosutoPlans
from agency.control.grammar.command import Command
from agency.control.operations import Operations, Origin, OriginKind, State
from agency.control.service.targets import AgentTargets
from agency.control.store import agents
from agency.control.store import operations as stored
from agency.control.store.agents import Creation
from agency.control.vault.desk import SecretDesk
from agency.control.vault.forms import Forms
from agency.control.vault.values import Waiting
from agency.secrets import SecretValue
from agency.store import Database

DELETE = "!agency secrets delete github"


class Blind(DeskTargets):
    """Targets whose look has a defect."""

    async def observe(self, _command: Command, _trace: str) -> str:
        raise ValueError("a defect")


def blind(desk: Desk) -> None:
    desk.targets = Blind(desk.database)


def unplanned(desk: Desk) -> None:
    def plan(_connection: Any, _operation: Any) -> None:
        raise RecursionError("maximum recursion depth exceeded")

    desk.plan = plan


DEFECTS = pytest.mark.parametrize("defect", [blind, unplanned])


async def running(operations: Operations, until: Callable[[], bool]) -> None:
    """Run the operations as the service does, until that; they must not end before."""
    task = asyncio.create_task(operations.run())
    try:
        async with asyncio.timeout(20):
            while not until():
                assert not task.done(), f"the operations ended: {task.exception()!r}"
                await asyncio.sleep(0.01)
    finally:
        operations.stop()
        await asyncio.gather(task, return_exceptions=True)


@DEFECTS
async def test_a_message_that_meets_one_is_answered_once_and_holds_up_nobody(
    desk: Desk, defect: Callable[[Desk], None]
) -> None:
    defect(desk)
    await desk.take(desk.event(DELETE), desk.event("!agency ping", sender=BOB))
    await running(desk.make_operations(), lambda: len(desk.spoken) == 2)
    assert desk.calls == [f"ping by {BOB}"]
    told = {said["body"] for said in await desk.said()}
    assert any("failed with an internal error" in each for each in told)
    assert any("Nothing was done" in each for each in told)
    assert (ALICE, "secrets delete", "failed") in await desk.outcomes()
    assert await desk.unfinished() == 0
    await desk.settle()  # a start of the control plane meets nothing of it
    assert len(await desk.said()) == 2


@DEFECTS
async def test_a_proposal_that_meets_one_has_an_end_an_answer_and_a_row(
    desk: Desk, defect: Callable[[Desk], None]
) -> None:
    defect(desk)
    operations = desk.make_operations()
    await operations.step()
    origin = Origin(OriginKind.HTTP, "one", desk.clock.now_ms())
    asked = asyncio.create_task(operations.ask(parse(DELETE), origin, ALICE, "t-1"))
    await running(operations, asked.done)
    reply = await asked
    assert not reply.ok
    assert "failed with an internal error" in reply.text
    made = await operations.propose(parse(DELETE), origin, ALICE, "t-1")
    assert made.state is State.FAILED
    assert "internal error" in str(await desk.database.read(lambda c: stored.answer(c, made.id)))
    assert await desk.outcomes() == [(ALICE, "secrets delete", "failed")]


async def test_a_result_that_the_store_excludes_has_failed_and_is_not_tried_for_ever(
    desk: Desk,
) -> None:
    async def create(invocation: Invocation) -> Result:
        name = invocation.command.target or ""
        made = Creation(name, "x", "x", f"@{name}:x.org", 20001, invocation.sender)
        return Result(f"made {name}", changes=(made,))

    desk.handlers["agents create"] = create
    for name in ("one", "two"):
        await desk.say(f"!agency agents create {name} --template=x")
    assert [each.name for each in await desk.database.read(agents.created)] == ["one"]
    first, second = [each["body"] for each in await desk.said()]
    assert first == "made one"
    assert "failed with an internal error" in second
    assert [row[2] for row in await desk.outcomes()] == ["accepted", "done", "accepted", "failed"]


async def test_a_secret_of_a_lost_key_can_be_asked_to_be_deleted(
    desk: Desk, database: Database
) -> None:
    """After a reboot of an instance whose master key is not kept, for example."""
    safe = Safe(database, desk.clock)
    await safe.vault().put(wanted("github"), SecretValue("abcdefghij"))
    farm = Farm(desk)
    await farm.open()
    for key, seen in (
        (safe.key, "Now github has version 1, for no agent."),
        (master_key(), "which is not loaded."),
    ):
        vault = safe.vault(key)
        push: Any = None
        forms = Forms(vault, "http://x", lambda: "token", safe.speaker())
        secrets = SecretDesk(vault, forms, Waiting(desk.clock, 60), push)
        desk.targets = AgentTargets(farm.lifecycle, {"secret": secrets.describe})
        await desk.take(desk.event(DELETE))
        await desk.finish(desk.make_operations())
        prompt = (await desk.said())[-1]["body"]
        assert "needs an approval" in prompt
        assert seen in prompt
    assert (await desk.states())[State.WAITING] == 2


@pytest.mark.parametrize("edits", ["x={} y=1", "x={}", "persona.prompt={}", "trust.rooms+={}"])
@pytest.mark.parametrize("depth", [3, 600])
async def test_an_edit_that_is_nested_deeply_is_refused_as_one(
    desk: Desk, edits: str, depth: int
) -> None:
    farm = Farm(desk)
    await farm.open()
    await farm.give("pm", "check the build")
    desk.plan = GosutoPlans(farm.inventory, partial(parse, max_bytes=16384))
    value = "[" * depth + "]" * depth
    await desk.take(desk.event(f"!agency gosuto set pm {edits.format(value)}"))
    await desk.finish(desk.make_operations())
    (said,) = [each["body"] for each in await desk.said()]
    assert ("would be nested deeper than 20 levels" in said) is (depth == 600)
    assert ("would be no valid Gosuto" in said) is (depth == 3)
    assert await desk.outcomes() == [(ALICE, "gosuto set", "refused")]


async def test_what_a_target_says_of_itself_is_no_defect(desk: Desk) -> None:
    class Refusing(DeskTargets):
        async def observe(self, _command: Command, _trace: str) -> str:
            raise RefusalError("the vault cannot be read")

    desk.targets = Refusing(desk.database)
    (said,) = await desk.say(DELETE)
    assert "Now the vault cannot be read." in said["body"]
    assert await desk.outcomes() == [(ALICE, "secrets delete", "waiting")]
