"""Deleted messages: a command whose message is deleted before it begins does not run.

transaction ──▶ messages stored ──▶ deletions applied      in one transaction of the store,
                                      │        │           before the homeserver's one is
         command waits: withdrawn ◀───┘        │           acknowledged
         command not here yet: remembered ◀────┘
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from agency.clock import Clock
from agency.control.events import IncomingEvent, Redaction
from agency.control.operation import Origin, OriginKind, operation_id
from agency.control.operations.admission import Bounds, described
from agency.control.operations.entries import message_entry
from agency.control.operations.withdrawal import withdraw
from agency.control.policy import Deny, Policy
from agency.control.store import audit, inbox, operations
from agency.control.store.audit import Outcome


@dataclass(frozen=True, slots=True)
class Deletions:
    """Withdrawal of commands by deletion of their messages.

    A command is withdrawn by its sender or by any operator. A deletion in another room than the
    command's means nothing.
    """

    clock: Clock
    policy: Policy
    bounds: Bounds

    def __call__(
        self,
        connection: Connection,
        events: Sequence[IncomingEvent],
        redactions: Sequence[Redaction],
    ) -> None:
        """Apply deletions, and those that came before the message that they delete."""
        for event in events:
            self._arrived(connection, event)
        for redaction in redactions:
            self._deleted(connection, redaction)

    def _arrived(self, connection: Connection, event: IncomingEvent) -> None:
        """Withdraw a command that is already deleted when it comes."""
        early = inbox.deleted_early(connection, event.event_id)
        if early is None or not self._may(early.event.sender, event.sender):
            return
        inbox.set_done(connection, early.sequence)
        facts = {"sender": event.sender, **described(event.text, self.bounds)}
        by, origin = early.event.sender, Origin.of_event(event)
        entry = message_entry(early.trace, by, origin, Outcome.WITHDRAWN, facts)
        audit.append(connection, self.clock, entry)

    def _deleted(self, connection: Connection, redaction: Redaction) -> None:
        asked = self._command(connection, redaction.redacts)
        if asked is None:
            # Kept for operators only: nobody else can have sent a command that would run.
            if self._operates(redaction.by) and not inbox.is_known(connection, redaction.redacts):
                inbox.add_deleted(
                    connection,
                    redaction.redacts,
                    redaction.room_id,
                    redaction.by,
                    self.clock.now_ms(),
                )
            return
        sender, room_id = asked
        if room_id == redaction.room_id and self._may(redaction.by, sender):
            withdraw(
                connection, self.clock, self.policy, self.bounds, redaction.redacts, redaction.by
            )

    def _command(self, connection: Connection, event_id: str) -> tuple[str, str] | None:
        """Return the sender and the room of a command that has not ended; None if there is none."""
        waiting = inbox.pending_event(connection, event_id)
        if waiting is not None:
            return waiting.event.sender, waiting.event.room_id
        origin = Origin(OriginKind.MATRIX, event_id, 0)
        found = operations.recorded(connection, operation_id(origin))
        return None if found is None else (found[0].actor, found[0].origin.room_id)

    def _may(self, by: str, sender: str) -> bool:
        return by == sender or self._operates(by)

    def _operates(self, who: str) -> bool:
        return not isinstance(self.policy.decide(who, None, ""), Deny)
