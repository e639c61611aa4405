"""The reconciler at start brings up each agent that is wanted, whatever becomes of the others."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from desk import Desk

from agency.control.operations import OriginKind
from agency.control.policy import SYSTEM
from agency.control.runtimes.base import AgentRuntimeError, RuntimeStatus, State
from agency.control.service.reconcile import reconcile
from agency.control.store.agents import AgentRecord, Desired

NAMES = ("broken", "idle", "pm", "up")


class HalfBrokenRuntime:
    """A runtime that cannot be asked about one of its agents."""

    async def status(self, name: str) -> RuntimeStatus:
        if name == "broken":
            raise AgentRuntimeError("the runtime does not answer")
        return RuntimeStatus(name, State.RUNNING if name == "up" else State.STOPPED)


class SeenLifecycle:
    """The parts of a lifecycle that the reconciler uses."""

    agents = dict.fromkeys(NAMES)
    runtime = HalfBrokenRuntime()

    async def records(self) -> dict[str, AgentRecord]:
        wanted = {name: Desired.STOPPED if name == "idle" else Desired.RUNNING for name in NAMES}
        return {
            name: AgentRecord(name, desired, None, None, None, 1, None)
            for name, desired in wanted.items()
        }


async def test_an_agent_whose_runtime_fails_holds_up_no_other(desk: Desk) -> None:
    operations = desk.make_operations()
    lifecycle: Any = SeenLifecycle()
    numbers = itertools.count(1)
    trace = lambda: f"t-r{next(numbers)}"  # noqa: E731 - a name for the call below
    starting = asyncio.create_task(reconcile(lifecycle, operations, desk.clock, trace))
    running = asyncio.create_task(operations.run())
    await asyncio.wait_for(starting, 10)
    operations.stop()
    await asyncio.wait_for(running, 10)
    assert desk.calls == [f"agents start by {SYSTEM}"]
    details = await desk.details()
    assert [detail["said"] for detail in details] == ["!agency agents start pm"] * 2
    assert {detail["cause"] for detail in details} == {str(OriginKind.RECONCILE)}
