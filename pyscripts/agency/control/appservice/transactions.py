"""Intake of a transaction: read it, store the relevant events, and only then acknowledge it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy.engine import Connection

from agency.clock import Clock
from agency.control.conditions import Code, Conditions
from agency.control.events import (
    EventKind,
    IncomingEvent,
    MalformedEventError,
    Reaction,
    Redaction,
    RoomChange,
    parse_event,
    parse_reaction,
    parse_redaction,
    parse_room_change,
)
from agency.control.operation import Operation
from agency.control.store import audit, inbox
from agency.control.store.audit import AuditEntry, Outcome
from agency.store import Database
from agency.web import QuietLog

_log = logging.getLogger(__name__)

_MOST_AUDITED = 100  # rows about dropped events in one run; further ones are counted

# Takes back, in the transaction of the store, the commands whose messages were deleted.
# Returns the operations that thereby do not run.
TakeBack = Callable[[Connection, Sequence[IncomingEvent], Sequence[Redaction]], Sequence[Operation]]


def _nothing_taken_back(
    _connection: Connection, _events: Sequence[IncomingEvent], _deleted: Sequence[Redaction]
) -> Sequence[Operation]:
    """Take back nothing: for an intake without operations behind it."""
    return ()


# Finds the command that a reaction stands for, in the transaction of the store; None if it is none.
Resolve = Callable[[Connection, Reaction], IncomingEvent | None]


def _means_nothing(_connection: Connection, _reaction: Reaction) -> IncomingEvent | None:
    """Take no reaction for a command: for an intake without operations behind it."""
    return None


def _nothing_to_forget(_operation: Operation) -> None:
    """Forget nothing: for an intake without operations behind it."""


def _nothing_changed(_change: RoomChange) -> None:
    """Ignore a change of a room."""


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
class EventCounts:
    """Events since the start, by what became of them."""

    stored: int = 0
    known: int = 0
    irrelevant: int = 0
    dropped: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return the numbers by their names."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Delivery:
    """Events of a transaction: those that are used, and what is wrong with each malformed one."""

    messages: list[IncomingEvent] = field(default_factory=list)
    redactions: list[Redaction] = field(default_factory=list)
    reactions: list[Reaction] = field(default_factory=list)
    malformed: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Intake:
    """Intake of relevant events into the inbox, each once. It sets `wake` when it stored one.

    `take_back` is called with the messages and the redactions of a transaction after the messages
    are stored, and `forget` with each operation that it took back, once that is committed;
    `changed` with each change of a room, before anything is stored: what is said after it must not
    be judged by the room as it was before. `resolve` tells which command a reaction stands for.
    """

    database: Database
    clock: Clock
    new_trace: Callable[[], str]
    looks_like_command: Callable[[str], bool]
    max_inbox: int
    wake: asyncio.Event
    conditions: Conditions
    take_back: TakeBack = _nothing_taken_back
    forget: Callable[[Operation], None] = _nothing_to_forget
    changed: Callable[[RoomChange], None] = _nothing_changed
    resolve: Resolve = _means_nothing
    speaks_to_us: Callable[[IncomingEvent], bool] = lambda _event: False
    last_received_ts: int | None = field(default=None)
    counts: EventCounts = field(default_factory=EventCounts)
    _audited: int = 0
    _dropped: QuietLog = field(default_factory=lambda: QuietLog(_log))

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
        read = self._read(events)
        relevant, redactions = read.messages, read.redactions
        if read.malformed:
            await self._note_dropped(txn_id, read.malformed)
        used = len(relevant) + len(redactions) + len(read.malformed)
        self.counts.irrelevant += len(events) - used
        if not relevant and not redactions and not read.reactions:
            return 0
        traced = [(event, self.new_trace()) for event in relevant]

        def store(connection: Connection) -> tuple[int, Sequence[Operation]]:
            added = 0
            meant = (self.resolve(connection, each) for each in read.reactions)
            relevant.extend(event for event in meant if event is not None)
            traced.extend((event, self.new_trace()) for event in relevant[len(traced) :])
            if inbox.unknown(connection, (event.event_id for event in relevant)):
                waiting = inbox.unfinished(connection)
                if waiting + len(traced) > self.max_inbox and waiting > 0:
                    raise InboxFullError
                added = inbox.add_transaction(connection, txn_id, now, traced)
            return added, self.take_back(connection, relevant, redactions)

        fresh, withdrawn = await self.database.write(store)
        taken = {"txn": txn_id[:80], "events": len(events), "stored": fresh}
        _log.debug("took a transaction", extra={"fields": taken})
        for operation in withdrawn:
            self.forget(operation)
        self.counts.stored += fresh
        self.counts.known += len(relevant) - fresh
        if fresh:
            self.wake.set()
        return fresh

    def _read(self, events: list[Any]) -> Delivery:
        """Sort the events of a transaction, and pass on the changes of rooms."""
        read = Delivery()
        for raw in events:
            try:
                change = parse_room_change(raw)
                if change is not None:
                    self.changed(change)
                reaction = parse_reaction(raw)
                if reaction is not None:
                    read.reactions.append(reaction)
                redaction = parse_redaction(raw)
                if redaction is not None:
                    read.redactions.append(redaction)
                event = parse_event(raw)
            except MalformedEventError as error:
                read.malformed.append(str(error))
                continue
            if event is not None and self._is_relevant(event):
                read.messages.append(event)
        return read

    def _is_relevant(self, event: IncomingEvent) -> bool:
        """Return whether an event is kept: of messages, those that command or speak to the bot.

        One that held a token is kept, too, without its text.
        """
        if event.kind is not EventKind.MESSAGE or event.leak:
            return True
        return self.looks_like_command(event.text) or self.speaks_to_us(event)

    async def _note_dropped(self, txn_id: str, malformed: Sequence[str]) -> None:
        """Audit events that are no events and are dropped: one row for each transaction, once.

        The others of the transaction go on, or one broken event would hold up all commands.
        """
        self.counts.dropped += len(malformed)
        reasons = sorted(set(malformed))
        said = {"txn": txn_id[:80], "number": len(malformed)}
        self._dropped.warning("dropped", "malformed events dropped: %s", reasons[0], fields=said)
        new = self.conditions.note(
            Code.EVENTS_DROPPED,
            "events of the homeserver were dropped, because they are malformed: commands may be "
            "among them",
            hint="`agency audit export` shows when and why; `!agency warnings acknowledge "
            f"{Code.EVENTS_DROPPED}` hides this",
        )
        # A homeserver may deliver one again for ever; a row for each time would fill the disk.
        if not new and self._audited >= _MOST_AUDITED:
            return
        self._audited += 1
        detail = audit.audit_detail(**said, reasons=", ".join(reasons)[:500])
        entry = AuditEntry(
            self.new_trace(), audit.SYSTEM, "events dropped", "homeserver", Outcome.FAILED, detail
        )
        await self.database.write(lambda connection: audit.append(connection, self.clock, entry))
