"""Operations in the database, and the approvals that were granted to them.

Every change of state names the state before it, so nothing runs from a stale view.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from sqlalchemy import Row, bindparam, delete, func, insert, select, update
from sqlalchemy.engine import Connection

from agency.control.operation import FINAL, Operation, Origin, State, check_move
from agency.control.store import schema
from agency.errors import InternalError

_operations = schema.operations
_grants = schema.grants
_reports = schema.reports
_INSERT = insert(_operations)
_MOVE = update(_operations).where(
    _operations.c.id == bindparam("which"), _operations.c.state == bindparam("before")
)
_UNFINISHED = (
    select(_operations).where(_operations.c.state.not_in(FINAL)).order_by(_operations.c.sequence)
)
_SPEND = update(_grants).where(
    _grants.c.operation_id == bindparam("which"),
    _grants.c.digest == bindparam("agreed"),
    _grants.c.granted_by.in_(bindparam("approvers", expanding=True)),
    _grants.c.spent_ts.is_(None),
)


def add(
    connection: Connection, operation: Operation, now_ts: int, answer: str | None = None
) -> None:
    """Store a new operation in its present state."""
    values = {
        "id": operation.id,
        "origin_kind": operation.origin.kind,
        "origin": operation.origin.record(),
        "actor": operation.actor,
        "action": operation.action,
        "command": operation.said,
        "target": operation.target,
        "digest": operation.digest,
        "state": operation.state,
        "rule": operation.rule,
        "deadline_ts": operation.deadline_ts,
        "created_ts": operation.created_ts,
        "changed_ts": now_ts,
        "trace": operation.trace,
        "replies": operation.replies,
        "answer": answer,
        "basis": operation.basis,
    }
    connection.execute(_INSERT, values)


def move(
    connection: Connection,
    before: Operation,
    after: Operation,
    now_ts: int,
    answer: str | None = None,
) -> None:
    """Change the state of a stored operation.

    Raises:
        InternalError: that state may not follow, or the stored state is not that of `before`.
    """
    check_move(before.state, after.state)
    values = {
        "which": before.id,
        "before": before.state,
        "state": after.state,
        "rule": after.rule,
        "digest": after.digest,
        "deadline_ts": after.deadline_ts,
        "replies": after.replies,
        "basis": after.basis,
        "changed_ts": now_ts,
        "answer": answer,
    }
    if connection.execute(_MOVE, values).rowcount != 1:
        raise InternalError(f"the operation {before.id} is no longer {before.state}")


def unfinished(connection: Connection) -> list[Operation]:
    """Return every operation that has not ended, oldest first."""
    return [_operation(row) for row in connection.execute(_UNFINISHED)]


def recorded(connection: Connection, operation_id: str) -> tuple[Operation, str] | None:
    """Return an operation and the digest that was stored with it."""
    statement = select(_operations).where(_operations.c.id == operation_id)
    row = connection.execute(statement).one_or_none()
    return None if row is None else (_operation(row), str(row.digest))


def answer(connection: Connection, operation_id: str) -> str | None:
    """Return the answer to an operation that came from no room, once it has ended."""
    statement = select(_operations.c.answer).where(_operations.c.id == operation_id)
    return connection.scalar(statement)


def set_replies(connection: Connection, operation_id: str, replies: int) -> None:
    """Set the number of replies made before the final one."""
    connection.execute(
        update(_operations).where(_operations.c.id == operation_id).values(replies=replies)
    )


def report(
    connection: Connection, operation: Operation, number: int, text: str, now_ts: int
) -> None:
    """Keep a report of an operation that came from no room, for who asks for it later."""
    key = {"operation_id": operation.id, "number": number}
    connection.execute(insert(_reports), {**key, "told_ts": now_ts, "text": text})


def reports(connection: Connection, operation_id: str, after: int = 0) -> list[tuple[int, str]]:
    """Return the reports of an operation after that number, with their numbers."""
    wanted = (_reports.c.operation_id == operation_id) & (_reports.c.number > after)
    statement = select(_reports.c.number, _reports.c.text).where(wanted)
    return [(row.number, row.text) for row in connection.execute(statement.order_by("number"))]


def counts(connection: Connection) -> dict[State, int]:
    """Count the operations of every state that is not final."""
    statement = (
        select(_operations.c.state, func.count())
        .where(_operations.c.state.not_in(FINAL))
        .group_by(_operations.c.state)
    )
    return {State(state): int(count) for state, count in connection.execute(statement)}


def grant(connection: Connection, operation: Operation, by: str, now_ts: int) -> None:
    """Record that `by` approves an operation, exactly as it is now."""
    values = {"digest": operation.digest, "granted_ts": now_ts, "spent_ts": None}
    key = {"operation_id": operation.id, "granted_by": by}
    connection.execute(delete(_grants).where(*(_grants.c[name] == key[name] for name in key)))
    connection.execute(insert(_grants), {**key, **values})


def spend(
    connection: Connection, operation: Operation, approvers: Collection[str], now_ts: int
) -> int:
    """Use up what `approvers` granted to an operation as it is now; return the number of grants."""
    values = {
        "which": operation.id,
        "agreed": operation.digest,
        "approvers": list(approvers),
        "spent_ts": now_ts,
    }
    return connection.execute(_SPEND, values).rowcount


def waiting(connection: Connection) -> list[Operation]:
    """Return every operation that waits for an approval, oldest first."""
    statement = select(_operations).where(_operations.c.state == State.WAITING)
    rows = connection.execute(statement.order_by(_operations.c.sequence))
    return [_operation(row) for row in rows]


def beginning_with(connection: Connection, beginning: str, most: int) -> list[Operation]:
    """Return at most `most` operations whose id begins so, oldest first."""
    statement = select(_operations).where(_operations.c.id.startswith(beginning, autoescape=True))
    rows = connection.execute(statement.order_by(_operations.c.sequence).limit(most))
    return [_operation(row) for row in rows]


def granted_by(connection: Connection, operation: Operation) -> dict[str, int]:
    """Return who granted an operation as it is, and when; grants that are used up count too."""
    wanted = (_grants.c.operation_id == operation.id) & (_grants.c.digest == operation.digest)
    rows = connection.execute(select(_grants).where(wanted).order_by(_grants.c.granted_ts))
    return {row.granted_by: row.granted_ts for row in rows}


def prune(connection: Connection, before_ts: int) -> int:
    """Delete operations that ended before `before_ts`, and their approvals; return their number."""
    ended = _operations.c.state.in_(FINAL) & (_operations.c.changed_ts < before_ts)
    old = select(_operations.c.id).where(ended)
    connection.execute(delete(_grants).where(_grants.c.operation_id.in_(old)))
    connection.execute(delete(_reports).where(_reports.c.operation_id.in_(old)))
    return connection.execute(delete(_operations).where(ended)).rowcount


def _operation(row: Row[tuple[object, ...]]) -> Operation:
    read = Operation(
        origin=Origin.read(row.origin_kind, row.origin),
        actor=row.actor,
        action=row.action,
        said=row.command,
        target=row.target,
        trace=row.trace,
        created_ts=row.created_ts,
        deadline_ts=row.deadline_ts,
        state=State(row.state),
        rule=row.rule,
        replies=row.replies,
        basis=row.basis,
    )
    return replace(read, stored=True)
