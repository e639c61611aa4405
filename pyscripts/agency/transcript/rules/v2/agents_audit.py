"""Evidence of the agents' own audit log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import model_validator

from agency.transcript.rules.v2.rule import (
    Count,
    Name,
    ProbeRule,
    Seen,
    Sha256,
    Shape,
    Some,
    Yes,
)

Evidence = Mapping[str, Any]


class AgentLog(Shape):
    """One agent's log, verified from the first record that is kept to its head."""

    name: Name
    count: Count
    sequence: Count
    head: Sha256
    verified: Yes

    @model_validator(mode="after")
    def _written(self) -> Self:
        if self.count > self.sequence:
            raise ValueError("count: more records than were ever written")
        return self


class AppendOnly(Shape):
    """Kernel's permission for a log: to grow only, or the reason why not."""

    value: bool
    reason: Seen | None

    @model_validator(mode="after")
    def _explained(self) -> Self:
        if not self.value and self.reason is None:
            raise ValueError("reason: not append-only, and not said why")
        return self


class AgentsAudit(Shape):
    """The log of every agent that ran."""

    agents: Some[AgentLog]
    append_only: AppendOnly

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len({log.name for log in self.agents}) != len(self.agents):
            raise ValueError("agents: one comes twice")
        return self


class LogKept(Shape):
    """The end that a log had before, looked for again after."""

    name: Name
    sequence: Count
    head: Sha256
    verified: Yes  # the whole log, and that this record is in it


def logs_kept(audit: Evidence, reboot: Evidence) -> str | None:
    """Every log is looked for again after a reboot, with an end that is not an earlier one."""
    kept = {log["name"]: log["sequence"] for log in reboot["agentsAuditKept"]}
    for log in audit["agents"]:
        if log["name"] not in kept:
            return f"reboot.survived: lacks the log of {log['name']}"
        if kept[log["name"]] < log["sequence"]:
            return f"reboot.survived: the log of {log['name']} was longer when agents.audit looked"
    return None


RULES = (
    ProbeRule(
        "agents.audit",
        "The own audit log of every agent that ran verifies; whether the kernel lets it only grow.",
        AgentsAudit,
        frozenset(("incus",)),
    ),
)
