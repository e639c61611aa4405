"""Commands `approvals list`, `show`, `approve`, `deny` and `withdraw`.

They are about operations (`op-...`), and about what agents ask (`ask-...`, in commands/asked). They
run at once, behind no change: who takes back an approval must not wait for what it stops. Each
may run again after a crash, for a decision that was taken already is not taken twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agency.clock import iso
from agency.control.commands import asked
from agency.control.commands.context import Context
from agency.control.commands.noun import Noun
from agency.control.execution.result import Result
from agency.control.execution.tables import table
from agency.control.grammar.keys import ApprovalId, OperationId
from agency.control.grammar.kinds import Reason, Text
from agency.control.grammar.spec import argument, flag
from agency.errors import AgencyError

if TYPE_CHECKING:
    from agency.control.operation import Operation
    from agency.control.operations.decisions import Decisions

APPROVALS = Noun("approvals")

_OPERATION = argument(
    "operation", OperationId(), "an operation's id, or its first six digits or more"
)
_APPROVAL = argument(
    "approval", ApprovalId(), "the id of what waits, or its first six digits or more"
)
_MOST_REASON = 300


@APPROVALS.command("list", summary="Show what waits for an approval.", permission="approvals.list")
async def list_approvals(ctx: Context) -> Result:
    """Show what waits, a line each, oldest first: operations, then what agents ask."""
    desk = ctx.services.decisions()
    waiting, (text, lines) = desk.waiting, await asked.listed(ctx)
    if not waiting:
        return Result(text or "Nothing waits for an approval.", lines)
    rows = [
        (
            each.short,
            each.actor,
            each.said,
            f"{len(by)} of {desk.quorum(each)}",
            iso(each.deadline_ts / 1000),
        )
        for each, by in zip(waiting, await desk.approved_by(*waiting), strict=True)
    ]
    number = "One operation waits" if len(rows) == 1 else f"{len(rows)} operations wait"
    block = table(("OPERATION", "ASKED BY", "COMMAND", "APPROVED", "UNTIL"), rows)
    return Result(
        f"{number} for an approval. {text}".rstrip(), "\n\n".join(filter(None, (block, lines)))
    )


@APPROVALS.command(
    "show",
    _APPROVAL,
    summary="Show what waits for an approval, and what an approval of it covers.",
    permission="approvals.show",
)
async def show_approval(ctx: Context, approval: str) -> Result:
    """Show everything that an approval is bound to."""
    if asked.is_ask(approval):
        return await asked.show(ctx, approval)
    desk = ctx.services.decisions()
    found = desk.find(approval)
    (by,) = await desk.approved_by(found)
    block = table((), _facts(found, desk.quorum(found), by))
    return Result(f"{found.id} waits for an approval:", f"{block}{await _planned(desk, found)}")


async def _planned(desk: Decisions, found: Operation) -> str:
    """Say all that an operation would do, if that is more than a wish of its target."""
    try:
        plan = await desk.plan_of(found)
    except AgencyError as error:
        return f"\n\nIt would be refused now: {error.message}"
    if plan is None:
        return ""
    moved = "" if plan.basis == found.basis else "It has moved since it was asked for.\n"
    return f"\n\n{moved}{plan.whole}"


def _facts(found: Operation, quorum: int, by: tuple[str, ...]) -> list[tuple[str, str]]:
    return [
        ("asked by", found.actor),
        ("asked", iso(found.created_ts / 1000)),
        ("command", found.said),
        ("rule", found.rule or "-"),
        ("approved by", ", ".join(by) or "-"),
        ("takes", f"{quorum} who did not ask for it"),
        ("until", iso(found.deadline_ts / 1000)),
        ("trace", found.trace),
        ("digest", found.digest),
    ]


@APPROVALS.command(
    "approve",
    _APPROVAL,
    argument("reason", Reason(_MOST_REASON), "why, for the audit log", required=False),
    flag("confirm", Text(200), "for your own operation, where nobody else can", metavar="WORD"),
    summary="Approve what waits exactly as it is; the last approval of an operation runs it.",
    permission="approvals.approve",
    role="approver",
    aliases=("!approve",),
    bare=("approve",),
)
async def approve(
    ctx: Context, approval: str, reason: str | None = None, confirm: str | None = None
) -> Result:
    """Approve what another person, or an agent, asked for."""
    if asked.is_ask(approval):
        return await asked.decide(ctx, approval, "approve", reason)
    granted = await ctx.services.decisions().grant(approval, ctx.invocation.sender, confirm)
    done = granted.operation
    detail = {"operation": done.id, "digest": done.digest, "reason": reason}
    if granted.is_enough:
        return Result(f"Approved: {done.said}. It runs when its turn comes.", detail=detail)
    left = granted.quorum - len(granted.by)
    return Result(
        f"You approved {done.said}. {left} more must, until {iso(done.deadline_ts / 1000)}.",
        detail=detail,
    )


@APPROVALS.command(
    "deny",
    _APPROVAL,
    argument("reason", Reason(_MOST_REASON), "why; the person who asked is told"),
    summary="Deny what waits; it does not run, and is not called.",
    permission="approvals.deny",
    role="approver",
    aliases=("!deny",),
    bare=("deny",),
)
async def deny(ctx: Context, approval: str, reason: str) -> Result:
    """End what waits for an approval."""
    if asked.is_ask(approval):
        return await asked.decide(ctx, approval, "deny", reason)
    ended = await ctx.services.decisions().deny(approval, ctx.invocation.sender, reason)
    return Result(
        f"Denied: {ended.said}. Nothing was done.", detail={"operation": ended.id, "reason": reason}
    )


@APPROVALS.command(
    "withdraw",
    _OPERATION,
    summary="Take back an operation of yours that has not begun.",
    permission="approvals.withdraw",
    role="operator",
)
async def withdraw(ctx: Context, operation: str) -> Result:
    """Take back an operation that waits for an approval or for its turn."""
    by, role = ctx.invocation.sender, ctx.invocation.role
    ended = await ctx.services.decisions().withdraw(operation, by, role)
    return Result(f"Withdrawn: {ended.said}. Nothing was done.", detail={"operation": ended.id})
