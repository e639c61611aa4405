"""Making true at start what was wanted before: agents that ought to run and do not, run again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from sqlalchemy.engine import Connection

from agency.clock import Clock
from agency.control.execution.lifecycle import Lifecycle
from agency.control.execution.result import Result
from agency.control.runtimes.base import State
from agency.control.store import agents, audit
from agency.control.store.agents import AgentRecord, Desired
from agency.control.store.audit import AuditEntry, Outcome
from agency.control.store.database import Database
from agency.errors import AgencyError

_log = logging.getLogger(__name__)


async def reconcile(
    lifecycle: Lifecycle, database: Database, clock: Clock, new_trace: Callable[[], str]
) -> None:
    """Start, side by side, every agent that is wanted and does not run; each start is audited.

    One that does not come up stays wanted, and is tried again at the next start.
    """
    wanted = [
        record
        for name, record in (await lifecycle.records()).items()
        if record.desired is Desired.RUNNING
        and name in lifecycle.agents
        and (await lifecycle.runtime.status(name)).state is not State.RUNNING
    ]
    await asyncio.gather(
        *(_start_again(record, lifecycle, database, clock, new_trace()) for record in wanted)
    )


async def _start_again(
    agent: AgentRecord, lifecycle: Lifecycle, database: Database, clock: Clock, trace: str
) -> None:
    accepted = AuditEntry(trace, audit.SYSTEM, "agents start", agent.name, Outcome.ACCEPTED)
    await database.write(lambda connection: audit.append(connection, clock, accepted))
    try:
        result = await lifecycle.start(agent.name, agent.project, trace)
    except AgencyError as error:
        result = Result(error.message, outcome=Outcome.FAILED, detail={"why": error.message})
    detail = audit.audit_detail(**{**result.detail, "cause": "reconcile"})
    entry = replace(accepted, outcome=result.outcome, detail=detail)

    def record(connection: Connection) -> None:
        for change in result.changes:
            agents.apply(connection, replace(change, desired=None), clock.now_ms())
        audit.append(connection, clock, entry)

    await database.write(record)
    fields = {"trace": trace, "agent": agent.name, "outcome": str(result.outcome)}
    _log.info("an agent that ought to run: %s", result.text, extra={"fields": fields})
