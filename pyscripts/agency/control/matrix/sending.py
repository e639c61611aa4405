"""The sender: posts the outbox's messages to the homeserver, in order, until each is settled."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from agency.clock import Clock
from agency.control.execution.cards import edit_of, edited_message
from agency.control.matrix.posted import posted_event
from agency.control.matrix.relation import RELATION, moved
from agency.control.store import audit, outbox
from agency.control.store.audit import AuditEntry, Outcome
from agency.control.store.outbox import Message, StoredMessage
from agency.matrix import LONGEST_S, Backoff, MatrixError, MatrixSession, client_path
from agency.store import Database

_log = logging.getLogger(__name__)
_STORE_RETRY_S = 1.0
_MAX_OFFERED = 100


@dataclass(slots=True)
class Sender:
    """Sender of the outbox's messages. It sets `settled` when a message is sent or given up."""

    database: Database
    api: MatrixSession
    clock: Clock
    attempts: int
    backoff: Backoff
    settled: asyncio.Event
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    answered: asyncio.Event = field(default_factory=asyncio.Event)  # set together with `settled`
    given_up: Callable[[], None] = lambda: None  # called for each message that was refused
    _doubtful: set[int] = field(default_factory=set)  # messages that may have been posted already
    _offered: deque[StoredMessage] = field(default_factory=lambda: deque(maxlen=_MAX_OFFERED))
    _drained: bool = False  # the outbox held nothing at the last read but what was offered since

    def offer(self, message: StoredMessage) -> None:
        """Hand over a message that has just been committed to the outbox."""
        if len(self._offered) == _MAX_OFFERED:
            self._drained = False
        self._offered.append(message)
        self.wake.set()

    async def run(self) -> None:
        """Send until cancelled."""
        started = False
        while True:
            self.wake.clear()
            try:
                if not started:
                    # A message from before a crash may have been posted without a record of it.
                    self._doubtful.update(await self.database.read(outbox.pending_sequences))
                    started = True
                wait_s = await self.send_due()
            except SQLAlchemyError as error:
                _log.error("cannot use the outbox: %s", type(error).__name__)
                self._drained = False
                wait_s = _STORE_RETRY_S
            if wait_s == 0:
                continue
            try:
                async with asyncio.timeout(wait_s):
                    await self.wake.wait()
            except TimeoutError:
                continue

    async def send_due(self) -> float | None:
        """Send what is due; return the seconds until the next attempt, None if the outbox is empty.

        Only the oldest message of each room is tried: this keeps the order.
        """
        waiting = await self._waiting()
        if not waiting:
            return None
        now = self.clock.now_ms()
        # A wait longer than the longest backoff means that the clock was put back.
        waits = {message.sequence: message.next_ts - now for message in waiting}
        due = [m for m in waiting if not 0 < waits[m.sequence] <= LONGEST_S * 1000]
        if not due:
            self._drained = False
            return min(waits.values()) / 1000
        for message in due:
            await self._send(message)
        self.settled.set()
        self.answered.set()
        return 0

    async def _waiting(self) -> list[StoredMessage]:
        """Return the messages that may be sent; skip the store if the only one was just offered."""
        if self._drained:
            return self._first_offered()
        self._offered.clear()
        waiting = await self.database.read(outbox.first_of_each_room)
        self._drained = not waiting
        return waiting or self._first_offered()

    def _first_offered(self) -> list[StoredMessage]:
        """Take the first of the messages that were handed over, by lane."""
        if not self._offered:
            return []
        first = min(self._offered, key=lambda each: each.order)
        self._offered.remove(first)
        return [first]

    async def _send(self, stored: StoredMessage) -> None:
        message = await self._resolved(stored.message)
        if message is None:
            await self._drop(stored, "the message that it edits is not there")
            return
        path = client_path("rooms", message.room_id, "send", "m.room.message", message.txn_id)
        try:
            event_id = None
            if stored.sequence in self._doubtful:
                event_id = await posted_event(self.api, message)
            if event_id is None:
                content, user = message.content, message.as_user
                answer = await self.api.request("PUT", path, content, as_user=user)
                event_id = str(answer.get("event_id", ""))
        except MatrixError as error:
            if error.doubtful:
                self._doubtful.add(stored.sequence)
            await self._failed(stored, error)
            return
        self._doubtful.discard(stored.sequence)
        fields = {"trace": message.trace, "room": message.room_id, "event": event_id}
        _log.debug("sent", extra={"fields": fields})
        # Not flushed: lost to a power cut, it is sent again under the same transaction id.
        await self.database.write(
            lambda c: outbox.set_sent(c, stored.sequence, event_id), flush=False
        )

    async def _resolved(self, message: Message) -> Message | None:
        """Fill in the event that an edit replaces; None if there is none.

        Messages to a room go in order, so the edited one was sent or given up before.
        """
        txn_id = edited_message(message.content)
        if txn_id is None:
            return message
        event_id = await self.database.read(lambda c: outbox.event_of(c, txn_id))
        if event_id is None:
            return None
        return replace(message, content=edit_of(message.content, event_id))

    async def _drop(self, stored: StoredMessage, why: str) -> None:
        """Leave out an edit: people are answered all the same."""
        fields = {"trace": stored.message.trace, "room": stored.message.room_id}
        _log.info("left out an edit: %s", why, extra={"fields": fields})
        await self.database.write(lambda c: outbox.set_dropped(c, stored.sequence), flush=False)

    async def _failed(self, stored: StoredMessage, error: MatrixError) -> None:
        self._drained = False
        attempts = stored.attempts + 1
        fields = {
            "trace": stored.message.trace,
            "attempts": attempts,
            "status": error.status,
            "errcode": error.errcode,
        }
        if edited_message(stored.message.content) is not None and not error.may_pass:
            await self._drop(stored, error.message)
            return
        if error.status == 400 and RELATION in stored.message.content:
            # The answered event cannot begin a thread, or is unknown to the homeserver.
            _log.warning("the homeserver refused the relation", extra={"fields": fields})
            try:
                await self._elsewhere(stored)
            except MatrixError as unanswered:
                error = unanswered
                fields |= {"status": error.status, "errcode": error.errcode}
            else:
                return
        if error.may_pass and attempts < self.attempts:
            delay_s = self.backoff.delay_s(attempts, error.retry_after_s)
            _log.warning("not sent: %s", error.message, extra={"fields": fields})
            next_ts = self.clock.now_ms() + int(delay_s * 1000)
            await self.database.write(
                lambda c: outbox.set_waiting(c, stored.sequence, attempts=attempts, next_ts=next_ts)
            )
        else:
            _log.error("given up: %s", error.message, extra={"fields": fields})
            self.given_up()
            await self._give_up(stored, attempts, error)

    async def _elsewhere(self, stored: StoredMessage) -> None:
        """Queue an answer for the thread of its command, or else without any relation.

        Raises:
            MatrixError: there was no answer to where that is; try again later.
        """
        message = stored.message
        already = outbox.is_moved(message.txn_id)
        content = None if already else await moved(self.api, message)
        txn_id = outbox.moved_id(message.txn_id)
        if content is None:
            content = {key: value for key, value in message.content.items() if key != RELATION}
            txn_id = outbox.alone_id(message.txn_id)
        await self.database.write(
            lambda c: outbox.set_content(c, stored.sequence, txn_id=txn_id, content=content)
        )

    async def _give_up(self, stored: StoredMessage, attempts: int, error: MatrixError) -> None:
        message = stored.message
        detail = audit.audit_detail(
            attempts=attempts, status=error.status, errcode=error.errcode, error=error.message
        )
        entry = AuditEntry(
            message.trace, audit.SYSTEM, "reply", message.room_id, Outcome.FAILED, detail
        )

        def record(connection: Connection) -> None:
            outbox.set_failed(connection, stored.sequence, attempts=attempts)
            audit.append(connection, self.clock, entry)

        await self.database.write(record)
