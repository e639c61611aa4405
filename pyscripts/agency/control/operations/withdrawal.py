"""Withdrawal: a command whose message was deleted before it began does not run.

The store decides: whoever admits or begins a command looks there whether it was withdrawn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy.engine import Connection

from agency.clock import Clock
from agency.control.operation import FINAL, Operation, Origin, OriginKind, State, operation_id
from agency.control.operations.admission import Bounds, described
from agency.control.operations.entries import message_entry, operation_entry
from agency.control.policy import Deny, Policy
from agency.control.store import audit, inbox, operations
from agency.control.store.audit import Outcome

_BEGUN = FINAL | {State.RUNNING}


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A withdrawn command. `operation` is None if its message was not admitted yet."""

    operation: Operation | None = None


def withdraw(
    connection: Connection, clock: Clock, policy: Policy, bounds: Bounds, event_id: str, by: str
) -> Withdrawn | None:
    """Withdraw the command of a message, with an audit row; None if there is nothing to withdraw.

    A command that has begun goes on. A message of a person who may not command stays: it is
    refused, and deleting it must not add to the audit log.
    """
    stored = inbox.pending_event(connection, event_id)
    if stored is not None:
        event = stored.event
        if isinstance(policy.decide(event.sender, None, ""), Deny):
            return None
        inbox.set_done(connection, stored.sequence)
        facts = {"sender": event.sender, **described(event.text, bounds)}
        origin = Origin.of_event(event)
        entry = message_entry(stored.trace, by, origin, Outcome.WITHDRAWN, facts)
        audit.append(connection, clock, entry)
        return Withdrawn()
    found = operations.recorded(connection, operation_id(Origin(OriginKind.MATRIX, event_id, 0)))
    if found is None or found[0].state in _BEGUN:
        return None
    operation = found[0]
    withdrawn = replace(operation, state=State.WITHDRAWN)
    operations.move(connection, operation, withdrawn, clock.now_ms())
    facts = {"sender": operation.actor}
    entry = operation_entry(operation, Outcome.WITHDRAWN, facts, by=by)
    audit.append(connection, clock, entry)
    return Withdrawn(withdrawn)


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
