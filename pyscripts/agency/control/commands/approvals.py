"""Commands `approvals list`, `show`, `approve`, `deny` and `withdraw`.

They run at once, behind no change: who takes back an approval must not wait for what it stops. Each
may run again after a crash, for a decision that was taken already is not taken twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agency.clock import iso
from agency.control.commands.context import Context
from agency.control.commands.noun import Noun
from agency.control.execution.result import Result
from agency.control.execution.tables import table
from agency.control.grammar.kinds import OperationId, Reason, Text
from agency.control.grammar.spec import argument, flag
from agency.errors import AgencyError

if TYPE_CHECKING:
    from agency.control.operation import Operation
    from agency.control.operations.decisions import Decisions

APPROVALS = Noun("approvals")

_OPERATION = argument(
    "operation", OperationId(), "an operation's id, or its first six digits or more"
)
_MOST_REASON = 300


@APPROVALS.command("list", summary="Show what waits for an approval.", permission="approvals.list")
async def list_approvals(ctx: Context) -> Result:
    """Show each operation that waits on one line, oldest first."""
    desk = ctx.services.decisions()
    waiting = desk.waiting
    if not waiting:
        return Result("Nothing waits for an approval.")
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
    return Result(
        f"{number} for an approval.",
        table(("OPERATION", "ASKED BY", "COMMAND", "APPROVED", "UNTIL"), rows),
    )


@APPROVALS.command(
    "show",
    _OPERATION,
    summary="Show an operation that waits, and what an approval of it covers.",
    permission="approvals.show",
)
async def show_approval(ctx: Context, operation: str) -> Result:
    """Show everything that an approval is bound to."""
    desk = ctx.services.decisions()
    found = desk.find(operation)
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
    _OPERATION,
    argument("reason", Reason(_MOST_REASON), "why, for the audit log", required=False),
    flag("confirm", Text(200), "for your own operation, where nobody else can", metavar="WORD"),
    summary="Approve an operation exactly as it is; the last approval runs it.",
    permission="approvals.approve",
    role="approver",
    aliases=("!approve",),
    bare=("approve",),
)
async def approve(
    ctx: Context, operation: str, reason: str | None = None, confirm: str | None = None
) -> Result:
    """Approve an operation that another person asked for."""
    granted = await ctx.services.decisions().grant(operation, ctx.invocation.sender, confirm)
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
    _OPERATION,
    argument("reason", Reason(_MOST_REASON), "why; the person who asked is told"),
    summary="Deny an operation that waits; it does not run.",
    permission="approvals.deny",
    role="approver",
    aliases=("!deny",),
    bare=("deny",),
)
async def deny(ctx: Context, operation: str, reason: str) -> Result:
    """End an operation that waits for an approval."""
    ended = await ctx.services.decisions().deny(operation, ctx.invocation.sender, reason)
    return Result(
        f"Denied: {ended.said}. Nothing was done.", detail={"operation": ended.id, "reason": reason}
    )


@APPROVALS.command(
    "withdraw",
    _OPERATION,
    summary="Take back an operation of yours that has not begun.",
    permission="approvals.withdraw",
)
async def withdraw(ctx: Context, operation: str) -> Result:
    """Take back an operation that waits for an approval or for its turn."""
    ended = await ctx.services.decisions().withdraw(operation, ctx.invocation.sender)
    return Result(f"Withdrawn: {ended.said}. Nothing was done.", detail={"operation": ended.id})
