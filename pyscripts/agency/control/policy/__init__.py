"""Permission to command: pure functions, and the decisions that they return."""

from __future__ import annotations

from agency.control.policy.approval import ApprovalRule, Solo, critical_secrets
from agency.control.policy.decision import (
    LOCAL,
    SYSTEM,
    Allow,
    Asked,
    Decision,
    Deny,
    Needs,
    Policy,
    SafeMode,
    confirmation,
    people,
)
from agency.control.policy.roles import People, Role, Ruled, includes, needed, reaches

__all__ = [
    "LOCAL",
    "SYSTEM",
    "Allow",
    "ApprovalRule",
    "Asked",
    "Decision",
    "Deny",
    "Needs",
    "People",
    "Policy",
    "Role",
    "Ruled",
    "SafeMode",
    "Solo",
    "confirmation",
    "critical_secrets",
    "includes",
    "needed",
    "people",
    "reaches",
]
