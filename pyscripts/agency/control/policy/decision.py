"""Decisions on an actor, a command and its target: pure functions, tested as a table."""

from __future__ import annotations

from dataclasses import dataclass

from agency.control.policy.approval import ApprovalRule, Solo
from agency.control.policy.roles import People, Role, Ruled, needed

# The control plane itself, as the audit log names it. No person's id lacks the @.
SYSTEM = "system"
# Whoever the kernel proves to be the machine's administrator, followed by the user's name.
LOCAL = "cli:"

STRANGER = "not-an-operator"


@dataclass(frozen=True, slots=True)
class Allow:
    """The operation may run."""


@dataclass(frozen=True, slots=True)
class Needs:
    """The operation may run once the approval that `rule` asks for is granted."""

    rule: str


@dataclass(frozen=True, slots=True)
class Deny:
    """The operation may not run: a stable code for the audit log, and a message to people."""

    code: str
    message: str


Decision = Allow | Needs | Deny


@dataclass(frozen=True, slots=True)
class Asked:
    """The parts of an operation that decide who may approve it; times are milliseconds."""

    actor: str
    target: str
    action: str
    created_ts: int


@dataclass(frozen=True, slots=True)
class SafeMode:
    """Read-only mode: who switched it on, and when, in milliseconds since the epoch."""

    by: str
    since_ts: int

    @property
    def refusal(self) -> str:
        """The answer to a change."""
        return (
            f"{self.by} switched to safe mode: nothing is changed until an admin says "
            "!agency safe-mode off."
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules of one control plane. Whoever has no role may nothing.

    Who administers the machine may ask for everything, too, and approves nothing. Of several
    approval rules that cover a command, the one that asks for most people applies. In safe mode
    nobody changes anything; the control plane keeps what was allowed before.
    """

    people: People
    rules: tuple[ApprovalRule, ...] = ()
    solo: Solo | None = None
    safe_mode: SafeMode | None = None
    standing: tuple[ApprovalRule, ...] = ()  # rules that follow from what is kept, not configured

    def decide(self, actor: str, command: Ruled | None, target: str) -> Decision:
        """Decide on a command. None stands for a text that is not parsed yet."""
        if actor == SYSTEM:
            return Allow()  # the reconciler restores a state that was allowed before
        if not actor.startswith(LOCAL):
            refused = self._refused(actor, command)
            if refused is not None:
                return refused
        if self.safe_mode is not None and command is not None and command.changes:
            return Deny("safe-mode", self.safe_mode.refusal)
        rule = None if command is None else self.rule_for(command, target)
        if rule is None:
            return Allow()
        if len(self.approvers(actor)) < self.quorum(rule):
            return Deny(
                "nobody-to-approve",
                f"This needs the approval of {people(self.quorum(rule))} beside who asks, by the "
                f"rule {rule}, and there are not so many who may give it. Name more operators or "
                "approvers in instance.yaml, or set approvals.solo.",
            )
        return Needs(rule)

    def _refused(self, actor: str, command: Ruled | None) -> Deny | None:
        if actor not in self.people.everybody:
            return Deny(STRANGER, f"{actor} is not an operator of this agency.")
        if command is None or self.people.may(actor, role := needed(command)):
            return None
        held = " and ".join(sorted(self.people.roles(actor)))
        return Deny(
            "not-permitted", f"{command.name} takes the role {role}, and {actor} is {held} here."
        )

    def rule_for(self, command: Ruled, target: str) -> str | None:
        """Return the name of the rule by which a command on a target needs approvals."""
        found = [each for each in self._all_rules if each.covers(command.name, target)]
        if not found:
            return command.approval
        return max(found, key=lambda each: each.quorum).name

    @property
    def _all_rules(self) -> tuple[ApprovalRule, ...]:
        return (*self.rules, *self.standing)

    def quorum(self, rule: str) -> int:
        """Return how many people must approve by a rule."""
        return next((each.quorum for each in self._all_rules if each.name == rule), 1)

    def approvers(self, actor: str) -> frozenset[str]:
        """Return who may approve what `actor` asked for: never `actor`, but for a solo agency."""
        if self._is_alone(actor):
            return self.people.deciding
        return self.people.deciding - {actor}

    def decide_grant(
        self, by: str, asked: Asked, *, now_ms: int, confirmed: str | None = None
    ) -> Allow | Deny:
        """Decide whether `by` may approve an operation; `confirmed` is what they typed for it."""
        if by == asked.actor:
            return self._decide_own(asked, now_ms, confirmed)
        if not self.people.may(by, Role.APPROVER):
            if by in self.people.everybody:
                return Deny("not-permitted", f"{by} may not approve: that takes an approver.")
            return Deny(STRANGER, f"{by} is not an operator of this agency.")
        return Allow()

    def _decide_own(self, asked: Asked, now_ms: int, confirmed: str | None) -> Allow | Deny:
        if self.solo is None or not self._is_alone(asked.actor):
            return Deny(
                "own-operation", "An operation cannot be approved by the person who asked for it."
            )
        left_s = asked.created_ts / 1000 + self.solo.delay_s - now_ms / 1000
        if left_s > 0:
            return Deny("too-early", f"It may be approved in {left_s:.0f} s, not before.")
        words = confirmation(asked.target, asked.action)
        if confirmed != words:
            return Deny("not-confirmed", f"Confirm it in so many words: --confirm={words!r}")
        return Allow()

    def _is_alone(self, actor: str) -> bool:
        return self.solo is not None and self.people.deciding == {actor}


def confirmation(target: str, action: str) -> str:
    """Return the words that the one person of an agency types to approve their own operation."""
    return target or action


def people(number: int) -> str:
    """Write a number of people."""
    return "one person" if number == 1 else f"{number} people"
