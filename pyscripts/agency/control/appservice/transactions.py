"""Intake of a transaction: read it, store the relevant events, and only then acknowledge it."""

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


class TransactionError(ValueError):
    """A malformed transaction; `errcode` is Matrix's."""

    def __init__(self, errcode: str, message: str) -> None:
        super().__init__(message)
        self.errcode = errcode


class InboxFullError(Exception):
    """The inbox is full; the homeserver should deliver again later."""


def read_events(body: bytes) -> list[Any]:
    """Read the events of a transaction's body.

    Raises:
        TransactionError: the body is not JSON, or not a transaction.
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
    """Intake of relevant events into the inbox, each once. It sets `wake` when it stored one."""

    database: Database
    clock: Clock
    new_trace: Callable[[], str]
    looks_like_command: Callable[[str], bool]
    max_inbox: int
    wake: asyncio.Event
    speaks_to_us: Callable[[IncomingEvent], bool] = lambda _event: False
    last_received_ts: int | None = field(default=None)

    async def take(self, txn_id: str, events: list[Any]) -> int:
        """Store a transaction; return the number of its new events.

        When this returns, they are on disk. The ids of events decide what is new, never the id of
        the transaction: a homeserver that restarts on SQLite, or was restored from a backup, counts
        its transactions from an older id again. A transaction without a new relevant event is not
        stored: delivering it again changes nothing.

        Raises:
            InboxFullError: too many events wait.
        """
        now = self.clock.now_ms()
        self.last_received_ts = now
        relevant = [event for raw in events if (event := self._relevant(raw, txn_id)) is not None]
        if not relevant:
            return 0
        traced = [(event, self.new_trace()) for event in relevant]

        def store(connection: Connection) -> int:
            if not inbox.unknown(connection, (event.event_id for event in relevant)):
                return 0
            waiting = inbox.unfinished(connection)
            if waiting + len(traced) > self.max_inbox and waiting > 0:
                raise InboxFullError
            return inbox.add_transaction(connection, txn_id, now, traced)

        fresh = await self.database.write(store)
        if fresh:
            self.wake.set()
        return fresh

    def _relevant(self, raw: object, txn_id: str) -> IncomingEvent | None:
        """Return the event if it is relevant. A malformed event is dropped; the others go on."""
        try:
            event = parse_event(raw)
        except MalformedEventError as error:
            fields = {"txn": txn_id[:80]}
            _log.warning("malformed event dropped: %s", error, extra={"fields": fields})
            return None
        if event is None:
            return None
        if event.kind is not EventKind.MESSAGE or self.looks_like_command(event.text):
            return event
        return event if self.speaks_to_us(event) else None
