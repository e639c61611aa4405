"""Rules that ask for the approval of other people before a change runs. Pure."""

from __future__ import annotations

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


@dataclass(frozen=True, slots=True)
class Solo:
    """Leave for the one person of an agency to approve their own operations, after a delay."""

    delay_s: float
