"""Decisions on an actor, a command and its target; pure, and tested as a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

# The control plane itself, as the audit log names it. No person's id lacks the @.
SYSTEM = "system"


class Ruled(Protocol):
    """What a command's specification says to the policy."""

    @property
    def permission(self) -> str:
        """What an actor must hold to ask for it."""

    @property
    def approval(self) -> str | None:
        """The name of the rule that asks for another person's approval."""


@dataclass(frozen=True, slots=True)
class Allow:
    """It may run."""


@dataclass(frozen=True, slots=True)
class Needs:
    """It may run when the approval that `rule` asks for is granted."""

    rule: str


@dataclass(frozen=True, slots=True)
class Deny:
    """It may not run: a stable code for the audit log, and what is said to people."""

    code: str
    message: str


Decision = Allow | Needs | Deny


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of one control plane. `operators` are full Matrix ids; each holds every permission.

    An empty set admits nobody.
    """

    operators: frozenset[str]

    def decide(self, actor: str, command: Ruled | None, target: str) -> Decision:  # noqa: ARG002 - no rule looks at a target yet
        """Decide on a command; None asks for a text that is not read yet."""
        if actor == SYSTEM:
            return Allow()  # it makes true again what was allowed before
        if actor not in self.operators:
            return Deny("not-an-operator", f"{actor} is not an operator of this agency.")
        if command is not None and command.approval is not None:
            return Needs(command.approval)
        return Allow()

    def decide_grant(self, by: str, actor: str) -> Allow | Deny:
        """Decide on the approval, by one person, of what another asked for."""
        if by == actor:
            return Deny("own-operation", "Nobody approves an operation of their own.")
        if by not in self.operators:
            return Deny("not-an-operator", f"{by} is not an operator of this agency.")
        return Allow()
