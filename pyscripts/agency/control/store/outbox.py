"""The durable outbox: messages to send, in order, each with its own transaction id.

The id is derived from the answered event and the message's number (0 is the final answer), so the
homeserver recognises a message that is sent again after a crash.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any

from sqlalchemy import BigInteger, Row, bindparam, cast, func, insert, select, update
from sqlalchemy.engine import Connection

from agency.canonical import sha256_hex
from agency.control.store import schema

_outbox = schema.outbox
_MOVED, _ALONE = "-moved", "-alone"


class Lane(IntEnum):
    """Order of messages to one room: those of a lower lane go first."""

    FIRST = 0
    LAST = 1  # refusals of people who may not command


class OutboxState(StrEnum):
    """State of a message in the outbox."""

    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"
    DROPPED = "dropped"  # an edit of a message that is not there


@dataclass(frozen=True, slots=True)
class Message:
    """An `m.room.message` to send."""

    txn_id: str
    room_id: str
    as_user: str
    content: dict[str, Any]
    trace: str
    lane: int = Lane.FIRST


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message in the outbox, with its place in the order and its attempts."""

    sequence: int
    attempts: int
    next_ts: int
    message: Message

    @property
    def order(self) -> tuple[int, int]:
        """Its place among the messages to its room."""
        return self.message.lane, self.sequence


# Statements that every reply needs are built once.
_PENDING = _outbox.c.state == OutboxState.PENDING
_COUNT_PENDING = select(func.count()).where(_PENDING)
_COUNT_LANE = select(func.count()).where(_PENDING, _outbox.c.lane == bindparam("which"))
# Lane and sequence as one number: no sequence reaches 2^48.
_ORDER = cast(_outbox.c.lane, BigInteger) * 2**48 + _outbox.c.sequence
_FIRST_OF_EACH_ROOM = (
    select(_outbox)
    .where(
        _PENDING,
        _ORDER.in_(select(func.min(_ORDER)).where(_PENDING).group_by(_outbox.c.room_id)),
    )
    .order_by(_ORDER)
)
_KNOWN = select(_outbox.c.sequence).where(_outbox.c.txn_id == bindparam("id"))
_INSERT = insert(_outbox)
_UPDATE = update(_outbox).where(_outbox.c.sequence == bindparam("which"))


def transaction_id(event_id: str, index: int) -> str:
    """Return the transaction id of the `index`-th message that answers an event."""
    return "agency-" + sha256_hex(f"{event_id}/{index}".encode())[:40]


def add(connection: Connection, message: Message, now_ts: int) -> StoredMessage | None:
    """Queue a message; None if one with the same transaction id was queued before."""
    if connection.scalar(_KNOWN, {"id": message.txn_id}) is not None:
        return None
    values = {
        "txn_id": message.txn_id,
        "room_id": message.room_id,
        "as_user": message.as_user,
        "content": json.dumps(message.content),
        "state": OutboxState.PENDING,
        "attempts": 0,
        "next_ts": now_ts,
        "created_ts": now_ts,
        "trace": message.trace,
        "lane": int(message.lane),
    }
    sequence = connection.execute(_INSERT, values).inserted_primary_key
    assert sequence is not None  # SQLAlchemy: None only for statements that insert nothing
    return StoredMessage(int(sequence[0]), 0, now_ts, message)


def first_of_each_room(connection: Connection) -> list[StoredMessage]:
    """Return the first pending message of every room: only these may be sent now."""
    return [_stored(row) for row in connection.execute(_FIRST_OF_EACH_ROOM)]


def find_pending(connection: Connection, txn_id: str) -> StoredMessage | None:
    """Return the pending message with that transaction id, if there is one."""
    statement = select(_outbox).where(_outbox.c.txn_id == txn_id, _PENDING)
    row = connection.execute(statement).one_or_none()
    return None if row is None else _stored(row)


def set_sent(connection: Connection, sequence: int, event_id: str) -> None:
    """Mark a message as sent; its ids stay, its content is deleted."""
    _update(connection, sequence, state=OutboxState.SENT, event_id=event_id[:255], content="{}")


def set_waiting(connection: Connection, sequence: int, *, attempts: int, next_ts: int) -> None:
    """Schedule the next attempt for a message that the homeserver did not take."""
    _update(connection, sequence, attempts=attempts, next_ts=next_ts)


def set_content(
    connection: Connection, sequence: int, *, txn_id: str, content: dict[str, Any]
) -> None:
    """Replace the content and the transaction id of a message."""
    _update(connection, sequence, txn_id=txn_id, content=json.dumps(content))


def set_failed(connection: Connection, sequence: int, *, attempts: int) -> None:
    """Mark a message as given up."""
    _update(connection, sequence, state=OutboxState.FAILED, attempts=attempts)


def set_dropped(connection: Connection, sequence: int) -> None:
    """Mark an edit as of no use; its content is deleted."""
    _update(connection, sequence, state=OutboxState.DROPPED, content="{}")


def is_known(connection: Connection, txn_id: str) -> bool:
    """Return whether a message was queued under a transaction id, also if it was moved since."""
    wanted = _outbox.c.txn_id.in_(_ids_of(txn_id))
    return connection.scalar(select(_outbox.c.sequence).where(wanted).limit(1)) is not None


def is_given_up(connection: Connection, txn_id: str) -> bool:
    """Return whether a message was given up: the homeserver does not take it."""
    wanted = _outbox.c.txn_id.in_(_ids_of(txn_id)) & (_outbox.c.state == OutboxState.FAILED)
    return connection.scalar(select(_outbox.c.sequence).where(wanted).limit(1)) is not None


def event_of(connection: Connection, txn_id: str) -> str | None:
    """Return the id of the event that a message became; None if it became none."""
    wanted = _outbox.c.txn_id.in_(_ids_of(txn_id)) & (_outbox.c.state == OutboxState.SENT)
    return connection.scalar(select(_outbox.c.event_id).where(wanted).limit(1)) or None


def moved_id(txn_id: str) -> str:
    """Return the transaction id of a message that goes to another thread than was planned."""
    return txn_id + _MOVED


def alone_id(txn_id: str) -> str:
    """Return the transaction id of a message that goes without any relation."""
    return txn_id + _ALONE


def planned_id(txn_id: str) -> str:
    """Return the transaction id that a message had before it was moved, if it was."""
    return txn_id.removesuffix(_ALONE).removesuffix(_MOVED)


def is_moved(txn_id: str) -> bool:
    """Return whether a transaction id is that of a message that was moved."""
    return txn_id.endswith(_MOVED)


def _ids_of(txn_id: str) -> tuple[str, ...]:
    return txn_id, moved_id(txn_id), alone_id(txn_id), alone_id(moved_id(txn_id))


def transaction_of(connection: Connection, event_id: str, room_id: str) -> str | None:
    """Return the transaction id of the message that became this event; None if none did."""
    wanted = (_outbox.c.event_id == event_id) & (_outbox.c.room_id == room_id)
    return connection.scalar(select(_outbox.c.txn_id).where(wanted))


def pending(connection: Connection) -> int:
    """Count the pending messages."""
    return int(connection.scalar(_COUNT_PENDING) or 0)


def pending_in(connection: Connection, lane: Lane) -> int:
    """Count the pending messages of a lane."""
    return int(connection.scalar(_COUNT_LANE, {"which": int(lane)}) or 0)


def pending_to(connection: Connection, room_id: str) -> int:
    """Count the pending messages to a room."""
    statement = select(func.count()).where(_PENDING, _outbox.c.room_id == room_id)
    return int(connection.scalar(statement) or 0)


def pending_sequences(connection: Connection) -> list[int]:
    """Return the sequences of the pending messages."""
    statement = select(_outbox.c.sequence).where(_outbox.c.state == OutboxState.PENDING)
    return list(connection.scalars(statement))


def counts(connection: Connection) -> dict[OutboxState, int]:
    """Count the pending messages, and those given up."""
    statement = (
        select(_outbox.c.state, func.count())
        .where(_outbox.c.state != OutboxState.SENT)
        .group_by(_outbox.c.state)
    )
    found = {OutboxState(state): int(count) for state, count in connection.execute(statement)}
    return {state: found.get(state, 0) for state in (OutboxState.PENDING, OutboxState.FAILED)}


def _stored(row: Row[tuple[object, ...]]) -> StoredMessage:
    content = json.loads(row.content)
    message = Message(row.txn_id, row.room_id, row.as_user, content, row.trace, row.lane)
    return StoredMessage(row.sequence, row.attempts, row.next_ts, message)


def _update(connection: Connection, sequence: int, **values: object) -> None:
    connection.execute(_UPDATE, {"which": sequence, **values})
