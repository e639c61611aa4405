"""Teller of the audit room: rows of the audit log, in bounded messages, a few a minute.

    every few seconds ──▶ rows after the last one told ──▶ one message in the outbox, and the number
                                                           of its last row, in one transaction

It waits while its room cannot be spoken in, while its last message is unsent, and while the outbox
is half full: replies come first. What it cannot keep up with is counted in a line, and not told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from agency.clock import Clock
from agency.control.execution.replies import notice_message
from agency.control.rooms.telling import MOST_LINES, is_told, message
from agency.control.store import audit, facts, outbox
from agency.control.store.facts import Fact
from agency.control.store.outbox import Lane, StoredMessage
from agency.store import Database

_log = logging.getLogger(__name__)

EVERY_S = 3.0
_BACKLOG = 200  # rows that wait at most: older ones are counted, and not told


@dataclass(slots=True)
class AuditTeller:
    """Teller of the audit log to the audit room; `room_id` is None while it cannot be told."""

    database: Database
    clock: Clock
    room_id: Callable[[], str | None]
    as_user: str
    new_trace: Callable[[], str]
    redact: Callable[[str], str]
    say: Callable[[StoredMessage], None]
    max_outbox: int
    every_s: float = EVERY_S

    async def run(self) -> None:
        """Tell until cancelled."""
        while True:
            try:
                await self.tell()
            except SQLAlchemyError as error:
                _log.warning("cannot tell the audit log: %s", type(error).__name__)
            await asyncio.sleep(self.every_s)

    async def begin(self) -> None:
        """Tell what follows from now on; an earlier run may have begun."""

        def keep(connection: Connection) -> None:
            if facts.read(connection, Fact.AUDIT_TOLD) is None:
                last = audit.head(connection).sequence
                facts.keep(connection, Fact.AUDIT_TOLD, str(last))

        await self.database.write(keep)

    async def tell(self) -> bool:
        """Queue one message about the rows that were not told yet; return whether there is one."""
        room_id = self.room_id()
        if room_id is None or not await self.database.read(lambda c: self._has_more(c, room_id)):
            return False

        def queue(connection: Connection) -> StoredMessage | None:
            return self._queue(connection, room_id)

        queued = await self.database.write(queue, flush=False)
        if queued is not None:
            self.say(queued)
        return queued is not None

    def _has_more(self, connection: Connection, room_id: str) -> bool:
        told = facts.read(connection, Fact.AUDIT_TOLD)
        last = audit.head(connection).sequence
        return told is not None and int(told) < last and self._may_queue(connection, room_id)

    def _may_queue(self, connection: Connection, room_id: str) -> bool:
        return (
            outbox.pending(connection) <= self.max_outbox // 2
            and outbox.pending_to(connection, room_id) == 0
        )

    def _queue(self, connection: Connection, room_id: str) -> StoredMessage | None:
        last = audit.head(connection).sequence
        kept = facts.read(connection, Fact.AUDIT_TOLD)
        told = min(int(kept or last), last)  # the log of a backup may be shorter
        first = max(told, last - _BACKLOG)
        rows = audit.after(connection, first, MOST_LINES)
        facts.keep(connection, Fact.AUDIT_TOLD, str(rows[-1].sequence if rows else last))
        shown = [row for row in rows if is_told(row, room_id)]
        if not shown:
            return None
        text = message(shown, first - told, self.redact)
        made = notice_message(text, room_id, as_user=self.as_user, trace=self.new_trace())
        return outbox.add(connection, replace(made, lane=Lane.LAST), self.clock.now_ms())
