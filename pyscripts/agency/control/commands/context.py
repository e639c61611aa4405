"""What every handler of a command is given beside its arguments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agency.clock import Clock
    from agency.control.execution.lifecycle import Lifecycle
    from agency.control.grammar.grammar import Grammar
    from agency.control.store.database import Database


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of the control plane that handlers use."""

    clock: Clock
    database: Database
    lifecycle: Lifecycle
    grammar: Grammar


@dataclass(frozen=True, slots=True)
class Context:
    """Who commanded, under which trace, and the parts at hand.

    `sent_ts` is when it was sent, in milliseconds since the epoch.
    """

    services: Services
    actor: str
    trace: str
    sent_ts: int
