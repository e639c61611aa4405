"""Questions of the gateway, put to the person at the terminal; without one each is denied."""

from __future__ import annotations

import asyncio
from typing import Literal

from agency.agent.gateway.calls.approvals import DecisionRefusedError
from agency.agent.gateway.core import Gateway
from agency.agent.trying.terminal import Terminal
from agency.agent.trying.watching import Watch
from agency.gosuto import Document
from agency.protocols import ApprovalDecision, PendingApproval

_LOOK_S = 0.05
YES = frozenset({"y", "yes"})


async def answer_questions(gateway: Gateway, terminal: Terminal, watch: Watch) -> None:
    """Ask about each call that waits, one after the other, until cancelled."""
    while True:
        for each in gateway.approvals.waiting():
            await _answer(gateway, terminal, watch, each)
        await asyncio.sleep(_LOOK_S)


async def _answer(
    gateway: Gateway, terminal: Terminal, watch: Watch, asked: PendingApproval
) -> None:
    document = gateway.dispatcher.policy.document if gateway.dispatcher.policy else None
    what = "this call needs your approval" if asked.kind == "call" else "its tools changed"
    terminal.show(f"  {what}:", "bold yellow")
    terminal.fields(
        [
            ("tool", asked.tool),
            ("rule", asked.rule or "-"),
            ("arguments", asked.shown),
            ("digest", asked.digest),
        ]
    )
    question = "make this one call" if asked.kind == "call" else "accept them"
    said = await terminal.ask(f"  {question}? [y/N] ", fresh=True)
    yes = said is not None and said.strip().lower() in YES
    decision: Literal["approve", "deny"] = "approve" if yes else "deny"
    if said is None:
        terminal.show("  denied: there is no terminal to ask on", "red")
    by = decider(document)
    message = ApprovalDecision(decision=decision, digest=asked.digest, decided_by=by)
    try:
        await gateway.decide(asked.id, message)
    except DecisionRefusedError as error:
        terminal.show(f"  not decided: {error.message}", "red")
        decision = "deny"
    watch.asked.append(
        {"tool": asked.tool, "rule": asked.rule, "digest": asked.digest, "decision": decision}
        | {"by": by, "asked": said is not None}
    )


def decider(document: Document | None) -> str:
    """Name the person who decides here: the first whom the Gosuto names. Pure."""
    assert document is not None
    assert document.approvals is not None
    return document.approvals.approvers[0]
