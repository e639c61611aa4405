"""Commands `audit tail`, `verify` and `export`, and `trace`."""

from __future__ import annotations

from collections.abc import Sequence

from agency.chain import Head
from agency.control.commands.context import Context
from agency.control.commands.noun import Noun
from agency.control.execution.result import RefusalError, Result
from agency.control.execution.tables import table
from agency.control.grammar.keys import ChainHead
from agency.control.grammar.kinds import Count, TraceId
from agency.control.grammar.spec import argument, flag
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


@AUDIT.command(
    "verify",
    flag("head", ChainHead(), "a head kept elsewhere, to begin at", metavar="NUMBER:HASH"),
    summary="Verify that no entry of the audit log was changed, removed or put in.",
    permission="audit.verify",
)
async def audit_verify(ctx: Context, head: str | None = None) -> Result:
    """Follow the chain of the log from its first row, or from a head that was kept elsewhere."""
    from agency.control.store.following import verify_log

    given = None
    if head is not None:
        number, _, digest = head.partition(":")
        given = Head(int(number), digest)
    report = await verify_log(ctx.services.database, ctx.services.instance, given)
    if not report.ok:
        raise RefusalError(
            f"the audit log is BAD at row {report.first_bad}: {report.reason}",
            hint="keep the database as evidence, and restore a backup",
        )
    since = "" if given is None else f" from row {given.sequence} on"
    return Result(
        f"The audit log is whole{since}: {report.count} rows. Keep its head elsewhere: "
        f"{report.count}:{report.head}",
        detail={"count": report.count, "head": report.head},
    )


@AUDIT.command(
    "export",
    summary="Say how the whole audit log is exported.",
    permission="audit.export",
)
async def audit_export(ctx: Context) -> Result:
    """Name the two ways out: a log is too long for a reply."""
    from agency.control.store import audit

    end = await ctx.services.database.read(audit.head)
    raise RefusalError(
        f"the audit log has {end.sequence} rows, which no reply holds",
        hint="`agency do audit export` writes it as JSON lines, by a token of the HTTP interface "
        "(GET /api/v1/audit/export); on the machine `agency audit export` does",
    )


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
            hint="`audit tail` shows the trace ids of what was done last",
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
