"""Permission to command: one pure function, and the decisions that it returns."""

from __future__ import annotations

from agency.control.policy.decision import (
    LOCAL,
    SYSTEM,
    Allow,
    Decision,
    Deny,
    Needs,
    Policy,
    Ruled,
)

__all__ = ["LOCAL", "SYSTEM", "Allow", "Decision", "Deny", "Needs", "Policy", "Ruled"]
