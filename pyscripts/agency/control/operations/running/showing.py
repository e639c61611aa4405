"""Status cards of changes that take long: one message, edited as their steps go, at a bounded rate.

    step ──▶ report in the store ──▶ after a while, at most every some seconds: card, then edits
    end  ──▶ the last edit, in the transaction of the result

All is in the store: after a crash the same card is edited on. Its ids follow from the command, as
those of replies do. Whoever deletes the command, or the card, ends its edits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from agency.clock import Clock
from agency.control.execution.cards import Card, card_id, card_message, edit_message
from agency.control.operation import Operation, OriginKind
from agency.control.operations.admitting.entries import store_reason
from agency.control.store import inbox, operations, outbox
from agency.control.store.audit import Outcome
from agency.control.store.outbox import StoredMessage
from agency.store import Database

_log = logging.getLogger(__name__)

AFTER_S = 2.0  # what ends sooner has no card
EVERY_S = 10.0
_MOST_HEALING = 4  # cards at one time for what the reconciler does
_ENDS = {
    Outcome.DONE: "done",
    Outcome.FAILED: "failed",
    Outcome.REFUSED: "refused",
    Outcome.INTERRUPTED: "interrupted, because the control plane ended",
    Outcome.EXPIRED: "expired",
}


@dataclass(slots=True)
class Cards:
    """Keeper of the cards. `room_id` is the control room, for changes that came from no room."""

    database: Database
    clock: Clock
    as_user: str
    say: Callable[[StoredMessage], None]
    room_id: Callable[[], str]
    max_outbox: int
    after_s: float = AFTER_S
    every_s: float = EVERY_S
    _healing: set[str] = field(default_factory=set)

    @asynccontextmanager
    async def showing(self, operation: Operation) -> AsyncIterator[Callable[[], None]]:
        """Show the steps of an operation while the block runs; what it yields is called at each."""
        heals = operation.origin.kind is OriginKind.RECONCILE
        if self._room_of(operation) == "" or (heals and len(self._healing) >= _MOST_HEALING):
            yield lambda: None
            return
        changed, ended = asyncio.Event(), asyncio.Event()
        if heals:
            self._healing.add(operation.id)
        task = asyncio.create_task(
            self._keep(operation, changed, ended), name=f"card of {operation.id}"
        )
        try:
            yield changed.set
        finally:
            self._healing.discard(operation.id)
            ended.set()
            changed.set()
            await asyncio.gather(task, return_exceptions=True)

    def end(
        self, connection: Connection, operation: Operation, outcome: Outcome
    ) -> StoredMessage | None:
        """Queue the last edit of a card, if there is one: it says how the operation ended."""
        if not operation.stored or not outbox.is_known(connection, card_id(operation)):
            return None
        if self._is_stopped(connection, operation):
            return None
        card = self._card(connection, operation, _ENDS.get(outcome, str(outcome)))
        return outbox.add(
            connection, edit_message(card, 0, as_user=self.as_user), self.clock.now_ms()
        )

    async def _keep(
        self, operation: Operation, changed: asyncio.Event, ended: asyncio.Event
    ) -> None:
        wait_s = self.after_s
        while not await _set_within(ended, wait_s):
            await changed.wait()
            if ended.is_set():
                return
            changed.clear()
            try:
                queued = await self.database.write(lambda c: self._show(c, operation), flush=False)
            except SQLAlchemyError as error:
                _log.warning("cannot show a step: %s", store_reason(error))
                queued = None
            if queued is not None:
                self.say(queued)
            wait_s = self.every_s

    def _show(self, connection: Connection, operation: Operation) -> StoredMessage | None:
        """Queue the card, or its next edit; replies go first where many messages wait."""
        if outbox.pending(connection) > self.max_outbox // 2:
            return None
        card, now = self._card(connection, operation), self.clock.now_ms()
        if self._is_stopped(connection, operation):
            return None
        if not outbox.is_known(connection, card_id(operation)):
            return outbox.add(connection, card_message(card, as_user=self.as_user), now)
        edits = (edit_message(card, number, as_user=self.as_user) for number in count(1))
        # The numbers go on after those of an earlier run.
        return next(
            queued for edit in edits if (queued := outbox.add(connection, edit, now)) is not None
        )

    def _card(self, connection: Connection, operation: Operation, end: str = "") -> Card:
        steps = [text for _, text in operations.reports(connection, operation.id)]
        return Card(operation, self._room_of(operation), steps, end)

    def _is_stopped(self, connection: Connection, operation: Operation) -> bool:
        """Return whether the command, or its card, was deleted."""
        said = [operation.origin.id, outbox.event_of(connection, card_id(operation))]
        events = [each for each in said if each]
        return bool(inbox.deleted_by(connection, self._room_of(operation), events))

    def _room_of(self, operation: Operation) -> str:
        match operation.origin.kind:
            case OriginKind.MATRIX:
                return operation.origin.room_id
            case OriginKind.RECONCILE:
                return self.room_id()
        return ""  # who asked by another way follows the operation itself


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
