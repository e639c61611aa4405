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
from dataclasses import dataclass

from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from agency.control.rooms.speaking import Speaker
from agency.control.rooms.telling import MOST_LINES, is_told, message
from agency.control.store import audit, facts
from agency.control.store.facts import Fact
from agency.control.store.outbox import Lane, StoredMessage

_log = logging.getLogger(__name__)

EVERY_S = 3.0
_BACKLOG = 200  # rows that wait at most: older ones are counted, and not told


@dataclass(slots=True)
class AuditTeller:
    """Teller of the audit log to the audit room."""

    speaker: Speaker
    redact: Callable[[str], str]
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

        await self.speaker.database.write(keep)

    async def tell(self) -> bool:
        """Queue one message about the rows that were not told yet; return whether there is one."""
        database, room_id = self.speaker.database, self.speaker.room_id()
        if room_id is None or not await database.read(lambda c: self._has_more(c, room_id)):
            return False

        def queue(connection: Connection) -> StoredMessage | None:
            return self._queue(connection, room_id)

        queued = await database.write(queue, flush=False)
        if queued is not None:
            self.speaker.say(queued)
        return queued is not None

    def _has_more(self, connection: Connection, room_id: str) -> bool:
        told = facts.read(connection, Fact.AUDIT_TOLD)
        last = audit.head(connection).sequence
        if told is None or int(told) >= last:
            return False
        return self.speaker.is_idle(connection, room_id)

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
        return self.speaker.queue(connection, text, room_id, lane=Lane.LAST)
