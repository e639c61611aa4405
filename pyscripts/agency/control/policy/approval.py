"""Rules that ask for the approval of other people before a change runs. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ApprovalRule:
    """A rule: which commands, on which targets, need how many people beside who asks.

    No `commands` means none, no `targets` every one.
    """

    name: str
    commands: frozenset[str]
    targets: frozenset[str] = frozenset()
    quorum: int = 1

    def covers(self, command: str, target: str) -> bool:
        """Return whether the rule asks for approvals of this command on this target."""
        return command in self.commands and (not self.targets or target in self.targets)


def critical_secrets(names: Iterable[str]) -> tuple[ApprovalRule, ...]:
    """Make the rule that holds by itself: a critical secret is not replaced by one person alone."""
    targets = frozenset(f"secret {name}" for name in names)
    commands = frozenset({"secrets rotate"})
    return (ApprovalRule("critical-secrets", commands, targets),) if targets else ()


@dataclass(frozen=True, slots=True)
class Solo:
    """Leave for the one person of an agency to approve their own operations, after a delay."""

    delay_s: float
