"""Decisions on an actor, a command and its target: pure functions, tested as a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

# The control plane itself, as the audit log names it. No person's id lacks the @.
SYSTEM = "system"
# Whoever the kernel proves to be the machine's administrator, followed by the user's name.
LOCAL = "cli:"


class Ruled(Protocol):
    """The parts of a command's specification that the policy needs."""

    @property
    def permission(self) -> str:
        """The permission that an actor must hold to send the command."""

    @property
    def approval(self) -> str | None:
        """The name of the rule that asks for another person's approval, if one does."""


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
class Policy:
    """Rules of one control plane. `operators` are full Matrix ids; each holds every permission.

    An empty set admits no person of the room. Who administers the machine may ask for everything,
    too, and approves nothing.
    """

    operators: frozenset[str]

    def decide(self, actor: str, command: Ruled | None, target: str) -> Decision:  # noqa: ARG002 - no rule looks at a target yet
        """Decide on a command. None stands for a text that is not parsed yet."""
        if actor == SYSTEM:
            return Allow()  # the reconciler restores a state that was allowed before
        if actor not in self.operators and not actor.startswith(LOCAL):
            return Deny("not-an-operator", f"{actor} is not an operator of this agency.")
        if command is not None and command.approval is not None:
            return Needs(command.approval)
        return Allow()

    def decide_grant(self, by: str, actor: str) -> Allow | Deny:
        """Decide whether `by` may approve an operation that `actor` asked for."""
        if by == actor:
            return Deny(
                "own-operation", "An operation cannot be approved by the person who asked for it."
            )
        if by not in self.operators:
            return Deny("not-an-operator", f"{by} is not an operator of this agency.")
        return Allow()
