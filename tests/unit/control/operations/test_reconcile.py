"""The reconciler at start brings each agent to its wish, whatever becomes of the others."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field, replace

import pytest
from desk import ALICE, ROOM, Desk, DeskTargets

from agency.control.commands import parse
from agency.control.execution.result import Invocation, Result
from agency.control.grammar.command import Command
from agency.control.operations import OriginKind
from agency.control.policy import SYSTEM, SafeMode
from agency.control.runtimes.base import AgentRuntimeError
from agency.control.service.reconcile import reconcile
from agency.control.store import agents
from agency.control.store.agents import Desired
from agency.control.store.audit import Outcome
from agency.control.wish import Wish

NAMES = ("broken", "idle", "pm", "up")


@dataclass
class SomeTargets(DeskTargets):
    """Targets of which one cannot be asked, one is to start and one is to stop."""

    remedies: dict[str, str] = field(
        default_factory=lambda: {
            "pm": "!agency agents start pm --project=app",
            "idle": "!agency agents stop idle",
        }
    )

    async def remedy(self, target: str, _trace: str) -> Command | None:
        if target == "broken":
            raise AgentRuntimeError("the runtime does not answer")
        said = self.remedies.get(target)
        return None if said is None else parse(said)


async def reconciled(desk: Desk) -> None:
    await desk.database.write(lambda c: agents.synchronise(c, NAMES, 1))
    for name in ("pm", "broken"):
        wish = Wish(Desired.RUNNING, "app")
        await desk.database.write(lambda c, n=name, w=wish: agents.set_wish(c, n, w, 1))
    desk.targets = SomeTargets(desk.database)
    operations = desk.make_operations()
    numbers = itertools.count(1)
    trace = lambda: f"t-r{next(numbers)}"  # noqa: E731 - a name for the call below
    starting = asyncio.create_task(reconcile(NAMES, desk.targets, operations, desk.clock, trace))
    running = asyncio.create_task(operations.run())
    await asyncio.wait_for(starting, 10)
    operations.stop()
    await asyncio.wait_for(running, 10)


async def test_an_agent_whose_runtime_fails_holds_up_no_other(desk: Desk) -> None:
    await reconciled(desk)
    assert sorted(desk.calls) == [f"agents start by {SYSTEM}", f"agents stop by {SYSTEM}"]
    details = await desk.details()
    assert {detail["said"] for detail in details} == {
        "!agency agents start pm --project=app",
        "!agency agents stop idle",
    }
    assert {detail["cause"] for detail in details} == {str(OriginKind.RECONCILE)}


@pytest.mark.parametrize("safe", [True, False])
async def test_in_safe_mode_a_start_brings_nobody_back_and_stops_nobody(
    desk: Desk, safe: bool
) -> None:
    if safe:
        desk.policy = replace(desk.policy, safe_mode=SafeMode(ALICE, 1))
    await reconciled(desk)
    assert (desk.calls == []) is safe
    assert ([content["body"] for content in await desk.said()] == []) is safe


@pytest.mark.parametrize("fails", [False, True])
async def test_room_is_told_of_an_agent_that_could_not_be_started_again(
    desk: Desk, fails: bool
) -> None:
    async def start(_invocation: Invocation) -> Result:
        outcome = Outcome.FAILED if fails else Outcome.DONE
        return Result("pm did not start: no port.", outcome=outcome)

    desk.handlers["agents start"] = start
    await reconciled(desk)
    bodies = [content["body"] for content in await desk.said()]
    (about,) = [body for body in bodies if "broken" in body]
    assert about == (
        "At the start of the control plane: broken could not be looked after: the runtime does "
        "not answer. broken is still to run, with the project app: the control plane tries that "
        "again."
    )
    told = (
        "At the start of the control plane: pm did not start: no port. pm is still to run, with "
        "the project app: the control plane tries that again."
    )
    assert (told in bodies) is fails
    assert {message.message.room_id for message in desk.spoken} == {ROOM}
