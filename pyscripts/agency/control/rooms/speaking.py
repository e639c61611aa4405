"""Speaker to a room: messages that answer no command, through the outbox and within its bound."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.engine import Connection

from agency.clock import Clock
from agency.control.execution.replies import notice_message
from agency.control.store import outbox
from agency.control.store.outbox import Lane, StoredMessage
from agency.store import Database


@dataclass(frozen=True, slots=True)
class Speaker:
    """Speaker to one room; `room_id` gives None while nothing can be said there.

    A message is queued in the transaction of what it tells, and handed to the sender by `say` when
    that is committed.
    """

    database: Database
    clock: Clock
    room_id: Callable[[], str | None]
    as_user: str
    new_trace: Callable[[], str]
    say: Callable[[StoredMessage], None]
    max_outbox: int

    def is_crowded(self, connection: Connection) -> bool:
        """Return whether as many messages wait as may."""
        return outbox.pending(connection) >= self.max_outbox

    def is_idle(self, connection: Connection, room_id: str) -> bool:
        """Return whether nothing waits for a room, and elsewhere replies have their place."""
        return (
            outbox.pending(connection) <= self.max_outbox // 2
            and outbox.pending_to(connection, room_id) == 0
        )

    def queue(
        self,
        connection: Connection,
        text: str,
        room_id: str,
        *,
        trace: str | None = None,
        rings: bool = False,
        about: Mapping[str, Any] | None = None,
        lane: Lane = Lane.FIRST,
    ) -> StoredMessage | None:
        """Queue a message; None if one with this trace was queued before.

        One that `rings` notifies people; `about` is told to programs.
        """
        made = notice_message(
            text,
            room_id,
            as_user=self.as_user,
            trace=self.new_trace() if trace is None else trace,
            rings=rings,
            about=about,
        )
        return outbox.add(connection, replace(made, lane=lane), self.clock.now_ms())
