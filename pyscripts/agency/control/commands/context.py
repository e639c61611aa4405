"""Context of a command's handler: services and invocation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agency.clock import Clock
    from agency.control.conditions import Conditions
    from agency.control.execution.lifecycle import Lifecycle
    from agency.control.execution.result import Invocation
    from agency.control.grammar.grammar import Grammar
    from agency.store import Database


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of the control plane that handlers use."""

    clock: Clock
    database: Database
    lifecycle: Lifecycle
    grammar: Grammar
    conditions: Conditions


@dataclass(frozen=True, slots=True)
class Context:
    """The context of one command: services, and who gave the command, where and when."""

    services: Services
    invocation: Invocation

    @property
    def trace(self) -> str:
        """The trace id of the command."""
        return self.invocation.trace
