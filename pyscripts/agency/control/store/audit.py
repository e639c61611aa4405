"""The audit log in the database: rows are appended in a transaction, and read back.

A row is appended in the same transaction as the change that it records, so neither exists without
the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.engine import Connection

from agency.chain import Head
from agency.clock import Clock, iso
from agency.control.store import schema
from agency.control.store.chain import (
    AuditEntry,
    AuditRow,
    ChainReport,
    Outcome,
    audit_detail,
    follow_chain,
    genesis,
    next_row,
    verify_chain,
)
from agency.control.store.reading import export_rows, read_head, verify_database
from agency.errors import BadInputError, InternalError

__all__ = [
    "AuditEntry",
    "AuditRow",
    "ChainReport",
    "Head",
    "Outcome",
    "after",
    "append",
    "audit_detail",
    "by_trace",
    "export_rows",
    "failures",
    "follow_chain",
    "head",
    "open_log",
    "read_head",
    "tail",
    "touch",
    "verify_chain",
    "verify_database",
]

SYSTEM = "system"
_FAILED = (Outcome.FAILED, Outcome.INTERRUPTED)
_SEARCHED = 10_000
_INSTANCE = "instance"
_HEAD = "audit_head"
_meta = schema.meta
_audit = schema.audit
_INSERT = insert(_audit)
_VALUE = select(_meta.c.value).where(_meta.c.key == bindparam("which"))
_SET_HEAD = update(_meta).where(_meta.c.key == _HEAD)


def open_log(connection: Connection, instance: str, clock: Clock) -> Head:
    """Begin the log of a fresh database, or check that an existing log may be continued.

    Raises:
        BadInputError: the log is another instance's, or its last row is not the recorded head.
    """
    found = _value(connection, _INSTANCE)
    if found is None:
        connection.execute(
            insert(_meta),
            [
                {"key": _INSTANCE, "value": instance},
                {"key": _HEAD, "value": _head_text(Head(0, genesis(instance)))},
            ],
        )
        detail = audit_detail(instance=instance, schema=schema.REVISION)
        entry = AuditEntry("start", SYSTEM, "audit open", instance, Outcome.DONE, detail)
        append(connection, clock, entry)
    elif found != instance:
        raise BadInputError(
            f"this database belongs to the instance {found!r}, not to {instance!r}",
            where="database",
            hint="give every instance a database of its own",
        )
    kept, last = head(connection), tail(connection, 1)
    if not last or kept != Head(last[0].sequence, last[0].hash):
        raise BadInputError(
            f"the audit log does not end at row {kept.sequence}, where it was left",
            where="database",
            hint="run `agency audit verify`; keep the file as evidence, and restore a backup",
        )
    return kept


def append(connection: Connection, clock: Clock, *entries: AuditEntry) -> Head:
    """Append rows and return the new head. The transaction must be a writing one."""
    end = head(connection)
    for entry in entries:
        row = next_row(end, entry, clock.now_iso())
        connection.execute(_INSERT, row.as_dict())
        end = Head(row.sequence, row.hash)
    connection.execute(_SET_HEAD, {"value": _head_text(end)})
    return end


def head(connection: Connection) -> Head:
    """Return the recorded head of the log."""
    value = _value(connection, _HEAD)
    if value is None:
        raise InternalError("the audit log was not opened")
    count, _, digest = value.partition(":")
    return Head(int(count), digest)


def touch(connection: Connection) -> Head:
    """Prove that the log can be written, without adding to it; return its head."""
    connection.execute(update(_meta).where(_meta.c.key == _HEAD).values(value=_meta.c.value))
    return head(connection)


def tail(connection: Connection, count: int) -> Sequence[AuditRow]:
    """Return the last rows, oldest first."""
    statement = select(_audit).order_by(_audit.c.sequence.desc()).limit(count)
    return _rows(connection.execute(statement))[::-1]


def after(connection: Connection, sequence: int, most: int) -> Sequence[AuditRow]:
    """Return at most `most` rows after that number, oldest first."""
    statement = select(_audit).where(_audit.c.sequence > sequence)
    return _rows(connection.execute(statement.order_by(_audit.c.sequence).limit(most)))


def failures(connection: Connection, since_ms: int, most: int) -> Sequence[AuditRow]:
    """Return the newest `most` rows of what failed since then, the newest first.

    Only the last rows of the log are searched.
    """
    first = head(connection).sequence - _SEARCHED
    wanted = _audit.c.outcome.in_(_FAILED) & (_audit.c.ts >= iso(since_ms / 1000))
    statement = (
        select(_audit)
        .where(_audit.c.sequence > first, wanted)
        .order_by(_audit.c.sequence.desc())
        .limit(most)
    )
    return _rows(connection.execute(statement))


def by_trace(connection: Connection, trace: str, limit: int) -> Sequence[AuditRow]:
    """Return the rows of one trace, oldest first."""
    statement = (
        select(_audit).where(_audit.c.trace == trace).order_by(_audit.c.sequence).limit(limit)
    )
    return _rows(connection.execute(statement))


def _rows(result: Iterable[Sequence[object]]) -> list[AuditRow]:
    return [AuditRow(*row) for row in result]  # type: ignore[arg-type]  # columns in field order


def _value(connection: Connection, key: str) -> str | None:
    found = connection.scalar(_VALUE, {"which": key})
    return None if found is None else str(found)


def _head_text(end: Head) -> str:
    return f"{end.sequence}:{end.hash}"
