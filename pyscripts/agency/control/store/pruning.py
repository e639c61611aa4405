"""Keeping the tables bounded: what was dealt with long ago goes, the audit log stays.

Event and transaction ids are kept for a week at least, so that a late redelivery is known. After
that a replayed command is too old to be run anyway.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete
from sqlalchemy.engine import Connection

from agency.control.store import operations, schema
from agency.control.store.inbox import InboxState
from agency.control.store.outbox import OutboxState

WEEK_MS = 7 * 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many rows went."""

    inbox: int
    outbox: int
    transactions: int
    operations: int


def keep_ms(max_command_age_s: float) -> int:
    """How long to keep what is done: a week, or longer if commands may be older than that."""
    return max(WEEK_MS, int(max_command_age_s * 2000))


def prune(connection: Connection, before_ts: int) -> Pruned:
    """Delete what was dealt with and came before `before_ts`."""
    inbox = connection.execute(
        delete(schema.inbox).where(
            schema.inbox.c.state == InboxState.DONE, schema.inbox.c.received_ts < before_ts
        )
    )
    outbox = connection.execute(
        delete(schema.outbox).where(
            schema.outbox.c.state != OutboxState.PENDING, schema.outbox.c.created_ts < before_ts
        )
    )
    transactions = connection.execute(
        delete(schema.transactions).where(schema.transactions.c.received_ts < before_ts)
    )
    ended = operations.prune(connection, before_ts)
    return Pruned(inbox.rowcount, outbox.rowcount, transactions.rowcount, ended)
