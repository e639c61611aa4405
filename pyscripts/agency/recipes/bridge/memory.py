"""Memory of the bridge: how far it has looked, and the comments it has settled.

It is in the database of the record, so that a comment and its run are one transaction: what is
remembered has had its effect, and what had an effect is remembered. Moments are of the forge's
clock, in seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.engine import Connection

from agency.recipes.record import queue
from agency.recipes.record.run import Order, Run
from agency.recipes.record.runs import Runs
from agency.recipes.record.tables import comments, looks

STRANGER_REPLIES = 10  # answers to people who may not start runs, in a project and an hour
_HOUR_S = 3600
_MOST = 200


class Kind(StrEnum):
    """The ways in which a comment is settled."""

    RUN = "run"
    STOP = "stop"
    UNKNOWN = "unknown"
    EDITED = "edited"
    CLOSED = "closed"
    GONE = "gone"
    MOVED = "moved"
    STRANGER = "stranger"
    UNREADABLE = "unreadable"
    BROKEN = "broken"


_BOUNDED = (Kind.STRANGER, Kind.UNREADABLE)


class Sent(StrEnum):
    """Progress of an answer: SENDING if the forge may have it already."""

    WAITING = "waiting"
    SENDING = "sending"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Seen:
    """Comment that is settled."""

    project: str
    comment: int
    pull_request: int
    author: str
    created_s: int


@dataclass(frozen=True, slots=True)
class Look:
    """Looks at a project: the first, and the moment up to which everything is settled."""

    first_s: int
    cursor_s: int


@dataclass(frozen=True, slots=True)
class Settled:
    """Comment as it is remembered; `reply` is empty where the answer is that of its run."""

    seen: Seen
    kind: Kind
    run: str | None
    note: str
    reply: str
    state: Sent


@dataclass(frozen=True, slots=True)
class Effect:
    """Effect of a comment: an order, a stop whose reply `stop_reply` writes, or only a reply."""

    kind: Kind
    reply: str = ""
    note: str = ""
    order: Order | None = None
    stop_reply: Callable[[Iterable[Run]], str] | None = None


class Memory:
    """Memory beside the record `runs`. Every method is one transaction."""

    def __init__(self, runs: Runs, now_ms: Callable[[], int]) -> None:
        self._runs = runs
        self._now_ms = now_ms

    async def look(self, project: str) -> Look | None:
        """Read how far a project was looked at; None before the first look."""
        wanted = select(looks).where(looks.c.project == project)
        row = await self._runs.view(lambda connection: connection.execute(wanted).one_or_none())
        return None if row is None else Look(row.first_s, row.cursor_s)

    async def begin(self, project: str, now_s: int) -> None:
        """Remember the first look at a project."""
        made = insert(looks).values(project=project, first_s=now_s, cursor_s=now_s)
        await self._runs.transaction(lambda connection: connection.execute(made).rowcount)

    async def advance(self, project: str, cursor_s: int) -> None:
        """Remember that everything up to a moment is settled."""
        change = update(looks).where(looks.c.project == project).values(cursor_s=cursor_s)
        await self._runs.transaction(lambda connection: connection.execute(change).rowcount)

    async def keep_only(self, projects: Collection[str]) -> None:
        """Forget the looks at other projects: one that is enrolled again is looked at anew."""
        gone = delete(looks).where(looks.c.project.not_in(list(projects)))
        await self._runs.transaction(lambda connection: connection.execute(gone).rowcount)

    async def prune(self, project: str, before_s: int) -> None:
        """Forget answered comments that are too old to be read again."""
        gone = delete(comments).where(
            comments.c.project == project,
            comments.c.created_s < before_s,
            comments.c.state == Sent.DONE,
        )
        await self._runs.transaction(lambda connection: connection.execute(gone).rowcount)

    async def knows(self, project: str, comment: int) -> bool:
        """Return whether a comment is settled."""
        return await self.settled(project, comment) is not None

    async def settled(self, project: str, comment: int) -> Settled | None:
        """Read a settled comment."""
        wanted = select(comments).where(
            comments.c.project == project, comments.c.comment == comment
        )
        row = await self._runs.view(lambda connection: connection.execute(wanted).one_or_none())
        return None if row is None else _read(row)

    async def settle(self, seen: Seen, effect: Effect, run: str) -> Kind | None:
        """Give a comment its effect and remember it; None if it was settled before.

        `run` is the id of the run, if it becomes one.
        """
        now_ts = self._now_ms()
        work = partial(_settle, seen=seen, effect=effect, run=run, now_ts=now_ts)
        return await self._runs.transaction(work)

    async def mark(self, seen: Seen, state: Sent) -> None:
        """Remember the progress of the answer to a comment."""
        change = (
            update(comments)
            .where(comments.c.project == seen.project, comments.c.comment == seen.comment)
            .values(state=state)
        )
        await self._runs.transaction(lambda connection: connection.execute(change).rowcount)

    async def unsent(self, besides: Collection[str]) -> tuple[Settled, ...]:
        """Read the replies that the forge was not told, but for some projects."""
        wanted = (
            select(comments)
            .where(
                comments.c.state != Sent.DONE,
                comments.c.reply != "",
                comments.c.project.not_in(list(besides)),
            )
            .order_by(comments.c.created_s, comments.c.comment)
            .limit(_MOST)
        )
        rows = await self._runs.view(lambda connection: connection.execute(wanted).all())
        return tuple(_read(row) for row in rows)


def _settle(
    connection: Connection, seen: Seen, effect: Effect, run: str, now_ts: int
) -> Kind | None:
    known = select(comments.c.kind).where(
        comments.c.project == seen.project, comments.c.comment == seen.comment
    )
    if connection.execute(known).scalar() is not None:
        return None
    reply, ordered = effect.reply, None
    if effect.order is not None:
        ordered = queue.add(connection, effect.order, run, now_ts).run.id
    if effect.stop_reply is not None:
        stopped = queue.ask_to_stop(
            connection, seen.project, seen.pull_request, seen.author, now_ts
        )
        reply = effect.stop_reply(stopped)
    if effect.kind in _BOUNDED and not _may_reply(connection, seen):
        reply = ""
    waits = bool(reply) or ordered is not None
    connection.execute(
        insert(comments).values(
            project=seen.project,
            comment=seen.comment,
            pull_request=seen.pull_request,
            author=seen.author,
            created_s=seen.created_s,
            kind=effect.kind,
            run=ordered,
            note=effect.note,
            reply=reply,
            state=Sent.WAITING if waits else Sent.DONE,
        )
    )
    return effect.kind


def _may_reply(connection: Connection, seen: Seen) -> bool:
    """Return whether a person without the right is told so: once a pull request, and not often."""
    told = select(func.count()).where(
        comments.c.project == seen.project, comments.c.kind.in_(_BOUNDED), comments.c.reply != ""
    )
    here = told.where(
        comments.c.pull_request == seen.pull_request, comments.c.author == seen.author
    )
    lately = told.where(comments.c.created_s > seen.created_s - _HOUR_S)
    if connection.execute(here).scalar_one():
        return False
    return int(connection.execute(lately).scalar_one()) < STRANGER_REPLIES


def _read(row: Row[tuple[object, ...]]) -> Settled:
    return Settled(
        seen=Seen(row.project, row.comment, row.pull_request, row.author, row.created_s),
        kind=Kind(row.kind),
        run=row.run,
        note=row.note,
        reply=row.reply,
        state=Sent(row.state),
    )
