"""Views of operations, agents and the audit log, made from the store."""

from __future__ import annotations

import json
from collections.abc import Mapping

from sqlalchemy.engine import Connection

from agency import __version__
from agency.clock import iso
from agency.control.api import models
from agency.control.commands.status import Glance
from agency.control.config import AgentEntry
from agency.control.operation import FINAL, Operation, State
from agency.control.policy import Policy
from agency.control.store import operations
from agency.control.store.agents import AgentRecord
from agency.control.store.chain import AuditRow


def find(connection: Connection, operation_id: str, policy: Policy) -> models.Operation | None:
    """Return an operation as it is shown; None if there is none of this id."""
    found = operations.recorded(connection, operation_id)
    return None if found is None else shown(connection, found[0], policy)


def shown(connection: Connection, operation: Operation, policy: Policy) -> models.Operation:
    """Show an operation with its reports and its answer."""
    kept = operations.answer(connection, operation.id)
    waits = None
    if operation.state is State.WAITING and operation.rule is not None:
        waits = models.Waits(
            rule=operation.rule,
            quorum=policy.quorum(operation.rule),
            approved_by=list(operations.granted_by(connection, operation)),
        )
    reports = operations.reports(connection, operation.id)
    return models.Operation(
        id=operation.id,
        state=operation.state.value,
        final=operation.state in FINAL,
        command=operation.said,
        action=operation.action,
        target=operation.target,
        actor=operation.actor,
        origin=operation.origin.kind.value,
        digest=operation.digest,
        trace=operation.trace,
        created=iso(operation.created_ts / 1000),
        deadline=iso(operation.deadline_ts / 1000),
        waits=waits,
        reports=[models.Report(number=number, text=text) for number, text in reports],
        reply=models.Reply(**json.loads(kept)) if kept else None,
    )


def agent(entry: AgentEntry, record: AgentRecord | None) -> models.Agent:
    """Show an agent, as the inventory has it."""
    seen = record.observed_ts if record is not None else None
    return models.Agent(
        name=entry.name,
        role=entry.role,
        matrix_id=entry.matrix_id,
        wanted=str(record.desired) if record is not None else None,
        project=record.project if record is not None else None,
        observed=record.observed if record is not None else None,
        observed_at=iso(seen / 1000) if seen is not None else None,
    )


def agents(
    entries: Mapping[str, AgentEntry],
    records: Mapping[str, AgentRecord],
    query: models.NamePage,
) -> models.AgentPage:
    """Make one page of the agents."""
    names = [name for name in sorted(entries) if name > query.after]
    items = [agent(entries[name], records.get(name)) for name in names[: query.limit]]
    more = len(names) > query.limit
    return models.AgentPage(items=items, next=items[-1].name if more else None)


def status(seen: Glance) -> models.Status:
    """Show the control plane at a glance."""
    return models.Status(
        version=__version__,
        uptime_s=round(seen.up_s, 1),
        agents=dict(sorted(seen.agents.items())),
        waiting_for_approval=seen.waiting,
        safe_mode=seen.safe_mode is not None,
        degraded=[
            models.Degraded(
                code=each.code.value,
                subject=each.subject,
                text=each.text,
                hint=each.hint,
                since=iso(each.since_ms / 1000),
                blocks=each.blocks,
            )
            for each in seen.degraded
        ],
        recent_errors=[
            models.RecentError(time=row.ts, action=row.action, target=row.target, trace=row.trace)
            for row in seen.failed
        ],
    )


def audit_row(row: AuditRow) -> models.AuditRow:
    """Show a row of the audit log."""
    return models.AuditRow(**row.as_dict())
