"""The queue of runs, in statements over one connection; `runs.py` makes transactions of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Row, case, exists, insert, select, update
from sqlalchemy.engine import Connection

from agency.recipes.record.run import Added, Order, Run, RunState
from agency.recipes.record.tables import runs

MAX_ATTEMPTS = 3  # starts of one run; the last is without others, which may have killed its engine
_MAX_REASON = 2000


def add(connection: Connection, order: Order, run: str, now_ts: int) -> Added:
    """Queue a run, unless its comment has one; queued runs of an older commit are replaced."""
    if order.comment is not None:
        known = connection.execute(
            select(runs).where(runs.c.project == order.project, runs.c.comment == order.comment)
        ).one_or_none()
        if known is not None:
            return Added(read(known), fresh=False)
    older = connection.execute(
        select(runs.c.id).where(
            runs.c.state == RunState.QUEUED,
            runs.c.project == order.project,
            runs.c.pull_request == order.pull_request,
            runs.c.commit_sha != order.commit,
        )
    ).scalars()
    reason = f"commit {order.commit[:12]} was ordered after it"
    replaced = [end(connection, one, RunState.REPLACED, now_ts, reason) for one in list(older)]
    values = {
        "id": run,
        "recipe": order.recipe,
        "project": order.project,
        "pull_request": order.pull_request,
        "commit_sha": order.commit,
        "head_ref": order.head_ref,
        "clone_url": order.clone_url,
        "stages": ",".join(order.stages),
        "requester": order.requester,
        "comment": order.comment,
        "state": RunState.QUEUED,
        "queued_ts": now_ts,
    }
    connection.execute(insert(runs).values(values))
    return Added(one(connection, run), True, tuple(each for each in replaced if each is not None))


def take(connection: Connection, capacity: int, now_ts: int) -> Run | None:
    """Give a slot to the oldest queued run whose pull request has none; None if none is free.

    A run whose engine was killed in all its starts but the last has the machine to itself: what
    killed the engine may have been another run beside it.
    """
    running = (
        connection.execute(select(_starts()).where(runs.c.state == RunState.RUNNING))
        .scalars()
        .all()
    )
    if len(running) >= capacity or MAX_ATTEMPTS in running:
        return None
    other = runs.alias()
    busy = exists().where(
        other.c.state == RunState.RUNNING,
        other.c.project == runs.c.project,
        other.c.pull_request == runs.c.pull_request,
    )
    found = connection.execute(
        select(runs.c.id, runs.c.attempts + 1)
        .where(runs.c.state == RunState.QUEUED, ~busy)
        .order_by(runs.c.sequence)
        .limit(1)
    ).one_or_none()
    if found is None or (running and found[1] >= MAX_ATTEMPTS):
        return None
    connection.execute(
        update(runs)
        .where(runs.c.id == found[0])
        .values(state=RunState.RUNNING, started_ts=now_ts, engine="")
    )
    return one(connection, found[0])


def _starts() -> ColumnElement[int]:
    """Count the starts of a run with the present one, also while no engine has it yet."""
    return runs.c.attempts + case((runs.c.engine == "", 1), else_=0)


def begin(connection: Connection, run: str, engine: str) -> Run | None:
    """Count a start, before the engine is asked for it; None if the run does not run."""
    done = connection.execute(
        update(runs)
        .where(runs.c.id == run, runs.c.state == RunState.RUNNING, runs.c.engine == "")
        .values(engine=engine, attempts=runs.c.attempts + 1)
    )
    return one(connection, run) if done.rowcount else None


def end(
    connection: Connection,
    run: str,
    state: RunState,
    now_ts: int,
    reason: str = "",
    result: str | None = None,
) -> Run | None:
    """End a run; None, and nothing changes, if it has ended before.

    Raises:
        ValueError: the state is none of an end.
    """
    if not state.ended:
        raise ValueError(f"a run does not end as {state}")
    done = connection.execute(
        update(runs)
        .where(runs.c.id == run, runs.c.state.in_((RunState.QUEUED, RunState.RUNNING)))
        .values(state=state, ended_ts=now_ts, reason=reason[:_MAX_REASON], result=result)
    )
    return one(connection, run) if done.rowcount else None


def requeue(connection: Connection, run: str, now_ts: int, *, blame: bool = True) -> Run | None:
    """Queue a run again whose engine was killed, at its old place; None if it does not run.

    A run that was asked to stop is cancelled, and one that was started too often ends as an error.
    Without `blame`, as where the engine was asked to end, this start does not count; nor does a
    slot that no start followed.
    """
    found = one(connection, run)
    if found.state is not RunState.RUNNING:
        return None
    if found.stop_asked_by is not None:
        return end(connection, run, RunState.CANCELLED, now_ts, f"by {found.stop_asked_by}")
    begun = found.engine != ""
    if blame and begun and found.attempts >= MAX_ATTEMPTS:
        reason = f"its engine was killed {found.attempts} times while it ran"
        return end(connection, run, RunState.ERROR, now_ts, reason)
    connection.execute(
        update(runs)
        .where(runs.c.id == run)
        .values(
            state=RunState.QUEUED,
            started_ts=None,
            engine="",
            engine_build="",
            engine_url="",
            attempts=runs.c.attempts - int(begun and not blame),
        )
    )
    return one(connection, run)


def stop(connection: Connection, run: str, by: str, now_ts: int) -> Run | None:
    """Cancel a queued run, or mark one that runs; None if it has ended or is unknown."""
    state = connection.execute(select(runs.c.state).where(runs.c.id == run)).scalar()
    if state == RunState.QUEUED:
        return end(connection, run, RunState.CANCELLED, now_ts, f"by {by}")
    if state != RunState.RUNNING:
        return None
    connection.execute(update(runs).where(runs.c.id == run).values(stop_asked_by=by))
    return one(connection, run)


def ask_to_stop(
    connection: Connection, project: str, pull_request: int, by: str, now_ts: int
) -> tuple[Run, ...]:
    """Cancel what is queued of a pull request, and mark what runs; return both."""
    found = connection.execute(
        select(runs.c.id, runs.c.state)
        .where(
            runs.c.project == project,
            runs.c.pull_request == pull_request,
            runs.c.state.in_((RunState.QUEUED, RunState.RUNNING)),
        )
        .order_by(runs.c.sequence)
    ).all()
    for run, _ in found:
        stop(connection, run, by, now_ts)
    return tuple(one(connection, run) for run, _ in found)


def one(connection: Connection, run: str) -> Run:
    """Read a run that is known to be there."""
    return read(connection.execute(select(runs).where(runs.c.id == run)).one())


def read_all(rows: Iterable[Row[Any]]) -> tuple[Run, ...]:
    """Read rows of the table."""
    return tuple(read(row) for row in rows)


def read(row: Row[Any]) -> Run:
    """Read a row of the table."""
    order = Order(
        recipe=row.recipe,
        project=row.project,
        pull_request=row.pull_request,
        commit=row.commit_sha,
        head_ref=row.head_ref,
        clone_url=row.clone_url,
        stages=tuple(filter(None, row.stages.split(","))),
        requester=row.requester,
        comment=row.comment,
    )
    return Run(
        id=row.id,
        sequence=row.sequence,
        order=order,
        state=RunState(row.state),
        queued_ts=row.queued_ts,
        started_ts=row.started_ts,
        ended_ts=row.ended_ts,
        reason=row.reason,
        stop_asked_by=row.stop_asked_by,
        attempts=row.attempts,
        engine=row.engine,
        engine_build=row.engine_build,
        engine_url=row.engine_url,
        result=row.result,
        answer=row.answer,
        told=row.told,
    )
