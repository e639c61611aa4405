"""The reconciler at start: agents that are wanted and do not run are started again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from agency.clock import Clock
from agency.control.commands import GRAMMAR
from agency.control.execution.lifecycle import Lifecycle
from agency.control.grammar.command import Command
from agency.control.operations import Operations, Origin, OriginKind
from agency.control.policy import SYSTEM
from agency.control.runtimes.base import State
from agency.control.store.agents import AgentRecord, Desired
from agency.errors import AgencyError

_log = logging.getLogger(__name__)


async def reconcile(
    lifecycle: Lifecycle, operations: Operations, clock: Clock, new_trace: Callable[[], str]
) -> None:
    """Start, concurrently, every agent that is wanted and does not run; each start is an operation.

    An agent that does not become healthy stays wanted, and is tried again at the next start. An
    agent whose runtime fails holds up no other.
    """
    wanted = [
        record
        for name, record in (await lifecycle.records()).items()
        if record.desired is Desired.RUNNING and name in lifecycle.agents
    ]
    await asyncio.gather(
        *(_start_again(record, lifecycle, operations, clock, new_trace()) for record in wanted)
    )


async def _start_again(
    agent: AgentRecord, lifecycle: Lifecycle, operations: Operations, clock: Clock, trace: str
) -> None:
    fields: dict[str, object] = {"trace": trace, "agent": agent.name}
    try:
        if (await lifecycle.runtime.status(agent.name)).state is State.RUNNING:
            return
        arguments: dict[str, str | int] = {"agent": agent.name}
        if agent.project is not None:
            arguments["project"] = agent.project
        command = Command(GRAMMAR.by_name["agents start"], arguments)
        origin = Origin(OriginKind.RECONCILE, trace, clock.now_ms())
        reply = await operations.ask(command, origin, SYSTEM, trace)
    except AgencyError as error:
        _log.error("an agent could not be started again: %s", error, extra={"fields": fields})
        return
    fields["ok"] = reply.ok
    _log.info("an agent that ought to run: %s", reply.text, extra={"fields": fields})
