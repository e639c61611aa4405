"""Settlement of an operation: its end, or the demand and the wish it begins with."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from agency.control.execution.replies import Reply, kept
from agency.control.execution.result import Stored
from agency.control.operation import Operation, Origin, State
from agency.control.store import agents, inbox, operations
from agency.control.store.agents import Change
from agency.control.store.audit import AuditEntry
from agency.control.store.outbox import Lane
from agency.control.wish import Wish
from agency.errors import AgencyError


class WithdrawnError(AgencyError):
    """The operation was withdrawn before it began."""


class NotWantedError(AgencyError):
    """A change by the reconciler to what was wished before, and is not any more."""


class SafeModeError(AgencyError):
    """Safe mode was switched on before the operation began."""


@dataclass(frozen=True, slots=True)
class Demand:
    """Demand of an operation before it begins: grants of so many of these people."""

    approvers: Collection[str] = ()
    quorum: int = 1


@dataclass(frozen=True, slots=True)
class Begun:
    """An operation that runs, and the wish that was on record for its target before."""

    operation: Operation
    before: Wish | None


@dataclass(frozen=True, slots=True)
class Settlement:
    """Everything that is committed together. `operation` is as it was; `state` is its new state.

    `event` is the inbox sequence of the event that is thereby done. `flush` is set for results that
    cannot be made again. A refusal or a look can be repeated after a power cut, and its reply then
    has the same transaction id.
    """

    origin: Origin
    trace: str
    entry: AuditEntry | None = None
    reply: Reply | None = None
    operation: Operation | None = None
    state: State = State.REFUSED
    event: int | None = None
    also: tuple[int, ...] = ()  # inbox sequences of further events that are done with it
    lane: Lane = Lane.FIRST  # of the reply
    changes: tuple[Change, ...] = ()
    stored: tuple[Stored, ...] = ()
    wish: Wish | None = None  # to be put on record for the operation's target
    flush: bool = False


def apply_changes(connection: Connection, settlement: Settlement, now_ts: int) -> None:
    """Make the changes that come with a result."""
    for made in settlement.changes:
        agents.apply(connection, made, now_ts)
    for each in settlement.stored:
        each.apply(connection, now_ts)


def is_in(connection: Connection, operation: Operation, state: State) -> bool:
    """Return whether the store has an operation in this state."""
    found = operations.recorded(connection, operation.id)
    return found is not None and found[0].state is state


def is_settled(connection: Connection, settlement: Settlement) -> bool:
    """Return whether an earlier attempt at this settlement was committed."""
    if settlement.operation is not None:
        return is_in(connection, settlement.operation, settlement.state)
    return settlement.event is not None and inbox.is_done(connection, settlement.event)


def stored_answer(settlement: Settlement) -> str | None:
    """Encode the reply for the operation's row, where no room gets it; None otherwise."""
    return None if settlement.reply is None else kept(settlement.reply, settlement.origin)


def fields_of(settlement: Settlement) -> dict[str, dict[str, object]]:
    """Return what a log line says of a settlement.

    No target: in a refused command it may be anything that somebody typed. The audit log has it.
    """
    fields: dict[str, object] = {"trace": settlement.trace, **settlement.origin.facts}
    if settlement.entry is not None:
        entry = settlement.entry
        fields |= {
            "actor": entry.actor,
            "action": entry.action,
            "outcome": str(entry.outcome),
        }
    return {"fields": fields}
