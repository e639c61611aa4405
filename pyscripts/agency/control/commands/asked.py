"""Acts of the commands of `approvals` on calls that agents ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agency.clock import iso
from agency.control.commands.context import Context
from agency.control.execution.result import RefusalError, Result
from agency.control.execution.tables import table
from agency.control.grammar.kinds import APPROVAL

if TYPE_CHECKING:
    from agency.control.ask import Ask
    from agency.control.asking.desk import AskDesk


def is_ask(approval: str) -> bool:
    """Return whether an id is that of what an agent asks."""
    return approval.startswith(APPROVAL)


async def listed(ctx: Context) -> tuple[str, str]:
    """Return a sentence about what agents ask, and a table; both empty if they ask nothing."""
    desk = ctx.services.asking
    waiting = [] if desk is None else await desk.waiting()
    if not waiting:
        return "", ""
    rows = [
        (
            each.short,
            each.agent,
            each.tool,
            each.rule or "-",
            _state(each),
            iso(each.expires_ts / 1000),
        )
        for each in waiting
    ]
    number = (
        "One call of an agent waits." if len(rows) == 1 else f"{len(rows)} calls of agents wait."
    )
    return number, table(("APPROVAL", "AGENT", "TOOL", "RULE", "STATE", "UNTIL"), rows)


async def show(ctx: Context, approval: str) -> Result:
    """Show everything that a decision is bound to, with the arguments whole."""
    desk = _desk(ctx)
    ask = await desk.find(approval)
    facts = [
        ("agent", ask.agent),
        ("tool", ask.tool),
        ("rule", ask.rule or "-"),
        ("may decide", ", ".join(await desk.deciders(ask)) or "nobody"),
        ("state", _state(ask)),
        ("asked", iso(ask.asked_ts / 1000)),
        ("until", iso(ask.expires_ts / 1000)),
        ("trace", ask.trace),
        ("digest", ask.digest),
    ]
    what = "what changed" if ask.kind == "tools" else "its arguments"
    return Result(f"{ask.id} waits:", f"{table((), facts)}\n\n{what}:\n{ask.shown}")


async def decide(ctx: Context, approval: str, verdict: str, reason: str | None) -> Result:
    """Put a decision on record, and tell the agent."""
    from agency.control.ask import State, Verdict
    from agency.control.store.chain import Outcome

    desk = _desk(ctx)
    done = await desk.decide(approval, ctx.invocation.sender, Verdict(verdict), reason or "")
    ask = done.ask
    detail = {**ask.facts, "decision": verdict, "state": ask.state.value, "reason": reason}
    if ask.state is Verdict(verdict).ends:
        did = "Approved" if ask.state is State.APPROVED else "Denied"
        return Result(f"{did}: {ask.tool} of {ask.agent}.", detail=detail)
    if ask.state is State.DECIDED:
        until = iso(ask.expires_ts / 1000)
        text = (
            f"Your decision is on record, and {ask.agent} does not take it now: {done.why}. It is "
            f"told as soon as it answers, until {until}."
        )
        return Result(text, detail=detail)
    text = f"This decision does not count: {done.why or 'its time has passed.'}"
    return Result(text, outcome=Outcome.FAILED, detail=detail)


def _desk(ctx: Context) -> AskDesk:
    if ctx.services.asking is None:
        raise RefusalError("no agent asks anything here")
    return ctx.services.asking


def _state(ask: Ask) -> str:
    return f"{ask.decided_by}: {ask.decision}" if ask.decided_by else "waits"
