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
from agency.control.operation import Operation, State
from agency.control.operations.admitting.admission import Bounds
from agency.control.operations.admitting.withdrawal import command_of, withdraw, withdraw_event
from agency.control.policy import Deny, Policy
from agency.control.store import inbox
from agency.control.store.inbox import StoredEvent


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
                self._note(connection, redaction)
        return ended

    def _note(self, connection: Connection, redaction: Redaction) -> None:
        deleted, room_id, by = redaction.redacts, redaction.room_id, redaction.by
        inbox.note_deleted(connection, deleted, room_id, by, self.clock.now_ms())

    def _withdraw(
        self, connection: Connection, redaction: Redaction, ended: list[Operation]
    ) -> bool:
        """Withdraw the command that a redaction deletes; returns whether its message is known.

        Its operation, if it is one already, is added to `ended`.
        """
        by = redaction.by
        match command_of(connection, redaction.redacts):
            case None:
                return inbox.is_known(connection, redaction.redacts)
            case StoredEvent(event=event) as stored:
                if self._may(redaction, event.sender, event.room_id):
                    withdraw_event(connection, self.clock, self.policy, self.bounds, stored, by)
            case Operation() as operation:
                if self._may(redaction, operation.actor, operation.origin.room_id):
                    withdrawn = withdraw(connection, self.clock, operation, by)
                    ended += [] if withdrawn is None else [withdrawn]
                    if operation.state is State.RUNNING:  # it goes on, and its card ends here
                        self._note(connection, redaction)
        return True

    def _may(self, redaction: Redaction, sender: str, room_id: str) -> bool:
        """Return whether a redaction withdraws a command of this sender and room."""
        may = redaction.by == sender or self._operates(redaction.by)
        return may and room_id == redaction.room_id

    def _operates(self, who: str) -> bool:
        return not isinstance(self.policy.decide(who, None, ""), Deny)
