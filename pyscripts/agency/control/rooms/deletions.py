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
from agency.control.operation import Operation, Origin, OriginKind, operation_id
from agency.control.operations.admission import Bounds
from agency.control.operations.withdrawal import withdraw
from agency.control.policy import Deny, Policy
from agency.control.store import inbox, operations


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
    ) -> list[Operation]:
        """Apply deletions, and those that came before the message that they delete.

        Returns the operations that do not run now.
        """
        ended: list[Operation] = []
        by_room: dict[str, list[IncomingEvent]] = {}
        for event in events:
            by_room.setdefault(event.room_id, []).append(event)
        for room_id, said in by_room.items():
            early = inbox.deleted_by(connection, room_id, [event.event_id for event in said])
            for event_id, by in early.items():
                self._withdraw(connection, Redaction(room_id, by, event_id), ended)
        for redaction in redactions:
            known = self._withdraw(connection, redaction, ended)
            if not known and self._operates(redaction.by):
                # Kept for operators only: nobody else can have sent a command that would run.
                inbox.note_deleted(
                    connection,
                    redaction.redacts,
                    redaction.room_id,
                    redaction.by,
                    self.clock.now_ms(),
                )
        return ended

    def _withdraw(
        self, connection: Connection, redaction: Redaction, ended: list[Operation]
    ) -> bool:
        """Withdraw the command that a redaction deletes; returns whether its message is known.

        Its operation, if it is one already, is added to `ended`.
        """
        asked = self._command(connection, redaction.redacts)
        if asked is None:
            return inbox.is_known(connection, redaction.redacts)
        sender, room_id = asked
        may = redaction.by == sender or self._operates(redaction.by)
        if may and room_id == redaction.room_id:
            by = redaction.by
            found = withdraw(
                connection, self.clock, self.policy, self.bounds, redaction.redacts, by
            )
            if found is not None and found.operation is not None:
                ended.append(found.operation)
        return True

    def _command(self, connection: Connection, event_id: str) -> tuple[str, str] | None:
        """Return the sender and the room of a command that has not ended; None if there is none."""
        waiting = inbox.pending_event(connection, event_id)
        if waiting is not None:
            return waiting.event.sender, waiting.event.room_id
        origin = Origin(OriginKind.MATRIX, event_id, 0)
        found = operations.recorded(connection, operation_id(origin))
        return None if found is None else (found[0].actor, found[0].origin.room_id)

    def _operates(self, who: str) -> bool:
        return not isinstance(self.policy.decide(who, None, ""), Deny)
