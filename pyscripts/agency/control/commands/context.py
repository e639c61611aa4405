"""What every handler of a command is given beside its arguments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agency.clock import Clock
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


@dataclass(frozen=True, slots=True)
class Context:
    """One command at work: the parts at hand, and who commanded what and when."""

    services: Services
    invocation: Invocation

    @property
    def trace(self) -> str:
        """The trace id of the command."""
        return self.invocation.trace
