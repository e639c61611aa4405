"""Taking in a transaction: read it, keep what matters, and only then acknowledge it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import Connection

from agency.clock import Clock
from agency.control.events import EventKind, IncomingEvent, MalformedEventError, parse_event
from agency.control.store import inbox
from agency.store import Database

_log = logging.getLogger(__name__)

# How long a transaction's id alone makes it a repeated one. Later the ids of its events still do,
# and a homeserver that was restored and counts from before is listened to again.
_TRANSACTION_MS = 3_600_000


class TransactionError(ValueError):
    """A transaction that is not one; `errcode` is Matrix's."""

    def __init__(self, errcode: str, message: str) -> None:
        super().__init__(message)
        self.errcode = errcode


class InboxFullError(Exception):
    """Too much is waiting; the homeserver shall deliver again later."""


def read_events(body: bytes) -> list[Any]:
    """The events of a transaction's body.

    Raises:
        TransactionError: it is not JSON, or not a transaction.
    """
    try:
        document = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise TransactionError("M_NOT_JSON", "the body is not JSON") from None
    events = document.get("events") if isinstance(document, dict) else None
    if not isinstance(events, list):
        raise TransactionError("M_BAD_JSON", "the body has no list `events`")
    return events


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


@dataclass(slots=True)
class Intake:
    """Puts what matters of a transaction into the inbox, once; `wake` says that there is some."""

    database: Database
    clock: Clock
    new_trace: Callable[[], str]
    looks_like_command: Callable[[str], bool]
    max_inbox: int
    wake: asyncio.Event
    last_received_ts: int | None = field(default=None)

    async def take(self, txn_id: str, events: list[Any]) -> int:
        """Store a transaction; returns how many of its events are new work.

        When this returns, they are on disk. A transaction in which nothing matters is not stored:
        delivering it again changes nothing.

        Raises:
            InboxFullError: too much is waiting.
        """
        now = self.clock.now_ms()
        self.last_received_ts = now
        relevant = [event for raw in events if (event := self._relevant(raw, txn_id)) is not None]
        if not relevant:
            return 0
        traced = [(event, self.new_trace()) for event in relevant]

        def store(connection: Connection) -> int:
            before = inbox.transaction_ts(connection, txn_id)
            if before is not None and before >= now - _TRANSACTION_MS:
                self._check_repeated(connection, txn_id, relevant)
                return 0
            waiting = inbox.unfinished(connection)
            if waiting + len(traced) > self.max_inbox and waiting > 0:
                raise InboxFullError
            return inbox.add_transaction(connection, txn_id, now, traced)

        fresh = await self.database.write(store)
        if fresh:
            self.wake.set()
        return fresh

    def _check_repeated(
        self, connection: Connection, txn_id: str, events: list[IncomingEvent]
    ) -> None:
        if inbox.unknown(connection, (event.event_id for event in events)):
            _log.warning(
                "a transaction id came again with other events, which were dropped: "
                "was the homeserver restored from a backup?",
                extra={"fields": {"txn": txn_id[:80]}},
            )

    def _relevant(self, raw: object, txn_id: str) -> IncomingEvent | None:
        """The event, if somebody must deal with it; a malformed one never stops the others."""
        try:
            event = parse_event(raw)
        except MalformedEventError as error:
            fields = {"txn": txn_id[:80]}
            _log.warning("malformed event dropped: %s", error, extra={"fields": fields})
            return None
        if event is None:
            return None
        if event.kind is EventKind.MESSAGE and not self.looks_like_command(event.text):
            return None
        return event
