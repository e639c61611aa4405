"""audit tail, trace."""

from __future__ import annotations

from collections.abc import Sequence

from agency.control.execution.result import Invocation, RefusalError, Result
from agency.control.execution.tables import table
from agency.control.store import audit
from agency.control.store.audit import AuditRow
from agency.store import Database

_MOST = 100
_USUAL = 10
_DETAIL = 160


async def audit_tail(database: Database, invocation: Invocation) -> Result:
    """The end of the audit log."""
    wanted = invocation.command.number("count") or _USUAL
    rows = await database.read(lambda connection: audit.tail(connection, min(wanted, _MOST)))
    return Result(f"The last {len(rows)} entries of the audit log:", _table(rows))


async def trace(database: Database, invocation: Invocation) -> Result:
    """Everything that was recorded under one trace."""
    wanted = invocation.command.text("trace") or ""
    rows = await database.read(lambda connection: audit.by_trace(connection, wanted, _MOST))
    if not rows:
        raise RefusalError(
            f"nothing is recorded under the trace {wanted}",
            hint="a trace id stands in every reply and in the audit log",
        )
    details = [(str(row.sequence), row.detail[:_DETAIL]) for row in rows]
    return Result(f"Trace {wanted}:", f"{_table(rows)}\n\n{table((), details)}")


def _table(rows: Sequence[AuditRow]) -> str:
    return table(
        ("ROW", "TIME", "OUTCOME", "ACTOR", "ACTION", "TARGET", "TRACE"),
        [
            (str(row.sequence), row.ts, row.outcome, row.actor, row.action, row.target, row.trace)
            for row in rows
        ],
    )
