"""Pruning of the tables: old rows that are done are deleted; the audit log stays.

Event and transaction ids are kept for at least a week, so a late redelivery is recognised. A
command replayed after that is too old to run.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete
from sqlalchemy.engine import Connection

from agency.control.store import alerts, asks, gosuto, operations, schema, tokens
from agency.control.store.inbox import InboxState
from agency.control.store.outbox import OutboxState

WEEK_MS = 7 * 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Pruned:
    """Number of rows deleted from each table."""

    inbox: int
    outbox: int
    transactions: int
    operations: int
    alerts: int
    tokens: int


def keep_ms(max_command_age_s: float) -> int:
    """Return how long rows that are done stay: a week, or twice the greatest age of a command."""
    return max(WEEK_MS, int(max_command_age_s * 2000))


def prune(connection: Connection, before_ts: int) -> Pruned:
    """Delete rows that are done and older than `before_ts`."""
    inbox = connection.execute(
        delete(schema.inbox).where(
            schema.inbox.c.state.in_([InboxState.DONE, InboxState.DELETED]),
            schema.inbox.c.received_ts < before_ts,
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
    told = alerts.prune(connection, before_ts)
    gosuto.prune_documents(connection, before_ts)
    asks.prune(connection, before_ts)
    expired = tokens.prune(connection, before_ts)
    return Pruned(inbox.rowcount, outbox.rowcount, transactions.rowcount, ended, told, expired)
