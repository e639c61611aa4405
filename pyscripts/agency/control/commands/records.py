"""Commands `audit tail` and `trace`."""

from __future__ import annotations

from collections.abc import Sequence

from agency.control.commands.context import Context
from agency.control.commands.noun import Noun
from agency.control.execution.result import RefusalError, Result
from agency.control.execution.tables import table
from agency.control.grammar.kinds import Count, TraceId
from agency.control.grammar.spec import argument
from agency.control.store.chain import AuditRow

AUDIT, TRACE = Noun("audit"), Noun("trace")

_MOST = 100
_USUAL = 10
_DETAIL = 160


@AUDIT.command(
    "tail",
    argument(
        "count",
        Count(_MOST),
        f"number of entries, 1 to {_MOST}; default {_USUAL}",
        default=_USUAL,
    ),
    summary="Show the newest entries of the audit log.",
    permission="audit.tail",
)
async def audit_tail(ctx: Context, count: int) -> Result:
    """Show the newest entries of the audit log."""
    from agency.control.store import audit

    rows = await ctx.services.database.read(lambda connection: audit.tail(connection, count))
    return Result(f"The last {len(rows)} entries of the audit log:", _table(rows))


@TRACE.command(
    None,
    argument(
        "trace",
        TraceId(),
        "a trace id from a reply or the audit log",
        metavar="trace-id",
    ),
    summary="Show the audit entries of one trace id.",
    permission="trace",
)
async def show_trace(ctx: Context, trace: str) -> Result:
    """Show the audit entries of one trace."""
    from agency.control.store import audit

    rows = await ctx.services.database.read(
        lambda connection: audit.by_trace(connection, trace, _MOST)
    )
    if not rows:
        raise RefusalError(
            f"nothing is recorded under the trace {trace}",
            hint="every reply and the audit log show trace ids",
        )
    details = [(str(row.sequence), row.detail[:_DETAIL]) for row in rows]
    return Result(f"Trace {trace}:", f"{_table(rows)}\n\n{table((), details)}")


def _table(rows: Sequence[AuditRow]) -> str:
    return table(
        ("ROW", "TIME", "OUTCOME", "ACTOR", "ACTION", "TARGET", "TRACE"),
        [
            (str(row.sequence), row.ts, row.outcome, row.actor, row.action, row.target, row.trace)
            for row in rows
        ],
    )
