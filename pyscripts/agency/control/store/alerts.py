"""Alerts that the control room was told of, by their identity, and when."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import delete, func, insert, select
from sqlalchemy.engine import Connection

from agency.control.store import schema
from agency.control.store.outbox import OutboxState

_alerts = schema.alerts
_outbox = schema.outbox


def told(connection: Connection, keys: Collection[str]) -> dict[str, int]:
    """Return when each of these was told; one whose message was given up was not told."""
    lost = select(_outbox.c.txn_id).where(_outbox.c.state == OutboxState.FAILED)
    found = connection.execute(
        select(_alerts.c.key, _alerts.c.told_ts).where(
            _alerts.c.key.in_(keys), _alerts.c.notice.not_in(lost)
        )
    )
    return {row.key: row.told_ts for row in found}


def notices_since(connection: Connection, since_ts: int) -> int:
    """Count the messages about alerts since then."""
    statement = select(func.count(func.distinct(_alerts.c.notice)))
    return int(connection.scalar(statement.where(_alerts.c.told_ts > since_ts)) or 0)


def add(connection: Connection, keys: Iterable[str], notice: str, now_ts: int) -> None:
    """Note that a message tells of these, in place of any earlier one."""
    rows = [{"key": key, "notice": notice, "told_ts": now_ts} for key in dict.fromkeys(keys)]
    connection.execute(delete(_alerts).where(_alerts.c.key.in_([row["key"] for row in rows])))
    connection.execute(insert(_alerts), rows)


def prune(connection: Connection, before_ts: int) -> int:
    """Forget what was told before then; an alert that still fires was told again since."""
    return connection.execute(delete(_alerts).where(_alerts.c.told_ts < before_ts)).rowcount
