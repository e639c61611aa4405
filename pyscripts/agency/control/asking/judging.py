"""Permission to decide on what agents ask: by the agency's roles and their Gosuto. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agency.control.ask import Verdict
from agency.control.policy import Policy, Role


@dataclass(frozen=True, slots=True)
class Guide:
    """Rules for approvals in the newest version of an agent's Gosuto; empty if it says nothing."""

    approvers: tuple[str, ...] = ()
    room_id: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Reason why somebody may not decide: a stable code, and a sentence for people."""

    code: str
    text: str


def judge(
    policy: Policy,
    guide: Guide,
    agent: str,
    by: str,
    verdict: Verdict,
    is_own: Callable[[str], bool],
) -> Refusal | None:
    """Return why a person may not decide on a call of an agent; None if they may.

    It takes both: a role that approves, and a name in the Gosuto. An agent decides on nothing,
    whatever names it. In safe mode nothing is approved.
    """
    if is_own(by):
        return Refusal("agent", "An agent decides on no call, be it another agent's.")
    if not policy.people.may(by, Role.APPROVER):
        if by in policy.people.everybody:
            return Refusal("not-permitted", f"{by} may not decide: that takes an approver.")
        return Refusal("not-an-operator", f"{by} is not an operator of this agency.")
    if by not in guide.approvers:
        named = ", ".join(guide.approvers) or "nobody"
        return Refusal(
            "not-an-approver",
            f"{by} may not decide: approvals.approvers in the Gosuto of {agent} names {named}.",
        )
    if verdict is Verdict.APPROVE and policy.safe_mode is not None:
        return Refusal(
            "safe-mode",
            f"{policy.safe_mode.by} switched to safe mode: nothing is approved until an admin "
            "says !agency safe-mode off. It may be denied.",
        )
    return None


def deciders(policy: Policy, guide: Guide, is_own: Callable[[str], bool]) -> tuple[str, ...]:
    """Return who may decide on calls of an agent, in the order of its Gosuto."""
    return tuple(
        each
        for each in dict.fromkeys(guide.approvers)
        if policy.people.may(each, Role.APPROVER) and not is_own(each)
    )
