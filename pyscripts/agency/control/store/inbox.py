"""The durable inbox: the events that the homeserver delivered, each stored once, in order.

An event's id is its identity: it is stored once, however often and in however many transactions
it comes. It is `pending` until it is answered, or until its command is a stored operation; then it
is `done`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import BindParameter, Row, bindparam, delete, func, insert, select, update
from sqlalchemy.engine import Connection

from agency.canonical import sha256_hex
from agency.control.events import IncomingEvent
from agency.control.store import schema

_inbox = schema.inbox
_transactions = schema.transactions


class InboxState(StrEnum):
    """State of an event in the inbox."""

    PENDING = "pending"
    RUNNING = "running"  # was running when a version without operations ended
    DONE = "done"
    DELETED = "deleted"  # a note that a message was deleted before it came


# Statements that every command needs are built once.
_UNFINISHED = _inbox.c.state.in_([InboxState.PENDING, InboxState.RUNNING])
_COUNT_UNFINISHED = select(func.count()).where(_UNFINISHED)
_IN_STATE_AFTER = (
    select(_inbox)
    .where(_inbox.c.state == bindparam("in_state"), _inbox.c.sequence > bindparam("after"))
    .order_by(_inbox.c.sequence)
    .limit(bindparam("most"))
)
_SENDERS: BindParameter[list[str]] = bindparam("senders", expanding=True)
_THEIRS = _IN_STATE_AFTER.where(_inbox.c.sender.in_(_SENDERS))
_OTHERS = _IN_STATE_AFTER.where(_inbox.c.sender.not_in(_SENDERS))
_TRANSACTION_TS = select(_transactions.c.received_ts).where(
    _transactions.c.txn_id == bindparam("id")
)
_KNOWN_EVENTS = select(_inbox.c.event_id).where(
    _inbox.c.event_id.in_(bindparam("ids", expanding=True))
)
_SET_STATE = update(_inbox).where(_inbox.c.sequence == bindparam("which"))


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event in the inbox, with its place in the order and its trace."""

    sequence: int
    trace: str
    state: InboxState
    event: IncomingEvent


def transaction_ts(connection: Connection, txn_id: str) -> int | None:
    """Return when a transaction was stored; None if it was not."""
    found = connection.scalar(_TRANSACTION_TS, {"id": txn_id})
    return None if found is None else int(found)


def unknown(connection: Connection, event_ids: Iterable[str]) -> set[str]:
    """Return those of the event ids that were never stored."""
    wanted = set(event_ids)
    return wanted - set(connection.scalars(_KNOWN_EVENTS, {"ids": list(wanted)}))


def unfinished(connection: Connection) -> int:
    """Count the events that are not done."""
    return int(connection.scalar(_COUNT_UNFINISHED) or 0)


def add_transaction(
    connection: Connection,
    txn_id: str,
    received_ts: int,
    events: Sequence[tuple[IncomingEvent, str]],
) -> int:
    """Store a transaction, and its events that are new; each event comes with its trace.

    Returns the number of new events.
    """
    if transaction_ts(connection, txn_id) is not None:
        connection.execute(delete(_transactions).where(_transactions.c.txn_id == txn_id))
    connection.execute(insert(_transactions), {"txn_id": txn_id, "received_ts": received_ts})
    wanted: dict[str, tuple[IncomingEvent, str]] = {}
    for event, trace in events:
        wanted.setdefault(event.event_id, (event, trace))
    new = unknown(connection, wanted)
    fresh = [each for event_id, each in wanted.items() if event_id in new]
    if fresh:
        connection.execute(
            insert(_inbox),
            [
                {
                    "event_id": event.event_id,
                    "room_id": event.room_id,
                    "sender": event.sender,
                    "origin_ts": event.origin_ts,
                    "received_ts": received_ts,
                    "content": event.content_json(),
                    "state": InboxState.PENDING,
                    "trace": trace,
                }
                for event, trace in fresh
            ],
        )
    return len(fresh)


def in_state(
    connection: Connection, state: InboxState, *, after: int, most: int
) -> list[StoredEvent]:
    """Return the oldest `most` events of a state with a sequence above `after`, in order."""
    wanted = {"in_state": state, "after": after, "most": most}
    return [_stored(row) for row in connection.execute(_IN_STATE_AFTER, wanted)]


def set_done(connection: Connection, sequence: int) -> None:
    """Mark an event as done. Its id stays, so a redelivery is recognised; its text is deleted."""
    done = {"which": sequence, "state": InboxState.DONE, "content": "{}"}
    connection.execute(_SET_STATE, done)


def pending_of(
    connection: Connection, senders: Sequence[str], *, theirs: bool, after: int, most: int
) -> list[StoredEvent]:
    """Return the oldest `most` pending events above `after` of these senders, or of all others."""
    statement = _THEIRS if theirs else _OTHERS
    wanted = {
        "in_state": InboxState.PENDING,
        "after": after,
        "most": most,
        "senders": list(senders),
    }
    return [_stored(row) for row in connection.execute(statement, wanted)]


def pending_event(connection: Connection, event_id: str) -> StoredEvent | None:
    """Return the event with that id if it is pending."""
    wanted = (_inbox.c.event_id == event_id) & (_inbox.c.state == InboxState.PENDING)
    row = connection.execute(select(_inbox).where(wanted)).one_or_none()
    return None if row is None else _stored(row)


def is_known(connection: Connection, event_id: str) -> bool:
    """Return whether an event was ever stored."""
    return not unknown(connection, (event_id,))


def note_deleted(
    connection: Connection, event_id: str, room_id: str, by: str, received_ts: int
) -> None:
    """Remember that `by` deleted a message of a room that has not come; noted twice, it is once."""
    key = _deleted_key(room_id, event_id)
    if is_known(connection, key):
        return
    values = {
        "event_id": key,
        "room_id": room_id,
        "sender": by,
        "origin_ts": received_ts,
        "received_ts": received_ts,
        "content": "{}",
        "state": InboxState.DELETED,
        "trace": "",
    }
    connection.execute(insert(_inbox), values)


def deleted_by(connection: Connection, room_id: str, event_ids: Sequence[str]) -> dict[str, str]:
    """Return who deleted which of a room's messages before they came."""
    keys = {_deleted_key(room_id, event_id): event_id for event_id in event_ids}
    wanted = _inbox.c.event_id.in_(list(keys)) & (_inbox.c.state == InboxState.DELETED)
    rows = connection.execute(select(_inbox.c.event_id, _inbox.c.sender).where(wanted))
    return {keys[row.event_id]: row.sender for row in rows}


def _deleted_key(room_id: str, event_id: str) -> str:
    """Name a deletion: in another room than its message it means nothing."""
    return f"deleted/{sha256_hex(f'{room_id}/{event_id}'.encode())}"


def set_all_done(connection: Connection, sequences: Sequence[int]) -> None:
    """Mark events as done and delete their text."""
    statement = update(_inbox).where(_inbox.c.sequence.in_(sequences))
    connection.execute(statement.values(state=InboxState.DONE, content="{}"))


def is_done(connection: Connection, sequence: int) -> bool:
    """Return whether an event is marked as done."""
    found = connection.scalar(select(_inbox.c.state).where(_inbox.c.sequence == sequence))
    return found == InboxState.DONE


def last_transaction_ts(connection: Connection) -> int | None:
    """Return when the newest transaction was stored."""
    found = connection.scalar(select(func.max(_transactions.c.received_ts)))
    return None if found is None else int(found)


def _stored(row: Row[tuple[object, ...]]) -> StoredEvent:
    event = IncomingEvent.from_stored(
        event_id=row.event_id,
        room_id=row.room_id,
        sender=row.sender,
        origin_ts=row.origin_ts,
        content=row.content,
    )
    return StoredEvent(row.sequence, row.trace, InboxState(row.state), event)
