"""Withdrawal: a command that is taken back before it begins does not run.

Whoever asked takes it back by deleting its message or by a command; an operator or the admin may,
too. The store decides: whoever admits or begins a command looks there whether it was withdrawn.
"""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy.engine import Connection

from agency.clock import Clock
from agency.control.execution.replies import Reply, kept
from agency.control.operation import FINAL, Operation, Origin, OriginKind, State, operation_id
from agency.control.operations.admitting.admission import Bounds, described
from agency.control.operations.admitting.entries import message_entry, operation_entry
from agency.control.policy import Deny, Policy
from agency.control.store import audit, inbox, operations
from agency.control.store.audit import Outcome
from agency.control.store.inbox import StoredEvent

WITHDRAWN = Reply(False, "It was withdrawn before it began, so nothing was done.")

_BEGUN = FINAL | {State.RUNNING}


def command_of(connection: Connection, event_id: str) -> StoredEvent | Operation | None:
    """Find the command of a message: still in the inbox, or an operation; None if there is none."""
    waiting = inbox.pending_event(connection, event_id)
    if waiting is not None:
        return waiting
    found = operations.recorded(connection, operation_id(Origin(OriginKind.MATRIX, event_id, 0)))
    return None if found is None else found[0]


def withdraw_event(
    connection: Connection,
    clock: Clock,
    policy: Policy,
    bounds: Bounds,
    stored: StoredEvent,
    by: str,
) -> None:
    """Withdraw a message that waits for admission, with an audit row.

    One of a person who may not command stays: it is refused, and deleting it must not add to the
    audit log.
    """
    event = stored.event
    if isinstance(policy.decide(event.sender, None, ""), Deny):
        return
    inbox.set_done(connection, stored.sequence)
    facts = {"sender": event.sender, **described(event.text, bounds)}
    origin = Origin.of_event(event)
    entry = message_entry(stored.trace, by, origin, Outcome.WITHDRAWN, facts)
    audit.append(connection, clock, entry)


def withdraw(
    connection: Connection, clock: Clock, operation: Operation, by: str
) -> Operation | None:
    """Withdraw an operation, with an audit row; None if it has begun, and goes on."""
    if operation.state in _BEGUN:
        return None
    withdrawn = replace(operation, state=State.WITHDRAWN)
    operations.move(
        connection, operation, withdrawn, clock.now_ms(), kept(WITHDRAWN, operation.origin)
    )
    facts = {"sender": operation.actor}
    entry = operation_entry(operation, Outcome.WITHDRAWN, facts, by=by)
    audit.append(connection, clock, entry)
    return withdrawn


def is_withdrawn(connection: Connection, operation: Operation | None, event: int | None) -> bool:
    """Return whether a command was withdrawn since it was admitted.

    `event` is the inbox sequence of its message, until that is settled together with it.
    """
    if event is not None and inbox.is_done(connection, event):
        return True
    if operation is None or not operation.stored:
        return False
    found = operations.recorded(connection, operation.id)
    return found is not None and found[0].state is State.WITHDRAWN
