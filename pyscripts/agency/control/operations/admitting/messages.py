"""Admission of what people with a role said, in order, as far as there is room for the answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from agency.control.store import inbox, outbox
from agency.control.store.inbox import StoredEvent
from agency.control.store.outbox import Lane
from agency.store import Database

_LOOKS = 32  # looks and refusals that run at one time


@dataclass(slots=True)
class Messages:
    """Admitter of messages. `looks` and `active` are numbers of what runs or waits for its turn.

    `full_up` says that events wait until one of these has ended.
    """

    database: Database
    max_outbox: int
    senders: Callable[[], Collection[str]]
    looks: Callable[[], int]
    active: Callable[[], int]
    admit: Callable[[StoredEvent], Awaitable[None]]
    full_up: bool = False
    _admitted: int = 0  # inbox sequence of the newest event that was admitted

    async def step(self) -> bool:
        """Admit what can be admitted now; return whether there may be more at once."""
        room, active = _LOOKS - self.looks(), self.active()
        if room <= 0:
            self.full_up = True
            return False
        senders = sorted(self.senders())

        def look(connection: Connection) -> tuple[list[StoredEvent], int]:
            # Each event is answered: admit none while too many replies wait to be sent.
            unsent = outbox.pending_in(connection, Lane.FIRST)
            most = min(room, self.max_outbox - unsent - active)
            if most <= 0:
                return [], 0
            after = self._admitted
            return inbox.pending_of(connection, senders, theirs=True, after=after, most=most), most

        events, most = await self.database.read(look)
        for stored in events:
            await self.admit(stored)
            self._admitted = stored.sequence
        self.full_up = most == 0
        return 0 < most == len(events)
