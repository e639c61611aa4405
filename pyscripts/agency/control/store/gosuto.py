"""Versions of agents' Gosuto, and documents that were handed in. A version is never changed."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Row, delete, func, insert, select
from sqlalchemy.engine import Connection

from agency.control.store import schema

_versions = schema.gosuto_versions
_documents = schema.gosuto_documents


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an agent's document; `document` is its canonical text.

    `created_ts` is milliseconds since the epoch; `made_by` says how it was made.
    """

    agent: str
    number: int
    sha256: str
    author: str
    created_ts: int
    trace: str
    made_by: str
    document: str


@dataclass(frozen=True, slots=True)
class Newest:
    """The number and the digest of an agent's newest version."""

    number: int
    sha256: str


def newest(connection: Connection, agent: str) -> Version | None:
    """Return the newest version; None if the agent has none."""
    statement = select(_versions).where(_versions.c.agent == agent)
    row = connection.execute(statement.order_by(_versions.c.number.desc()).limit(1)).one_or_none()
    return None if row is None else _version(row)


def all_newest(connection: Connection) -> dict[str, Newest]:
    """Return the newest version of each agent that has one, without its text."""
    last = select(func.max(_versions.c.number).label("number"), _versions.c.agent)
    newest = last.group_by(_versions.c.agent).subquery()
    same = (_versions.c.agent == newest.c.agent) & (_versions.c.number == newest.c.number)
    statement = select(_versions.c.agent, _versions.c.number, _versions.c.sha256)
    rows = connection.execute(statement.join(newest, same))
    return {row.agent: Newest(row.number, row.sha256) for row in rows}


def number_of(connection: Connection, agent: str, sha256: str) -> int | None:
    """Return the newest version of an agent's document with this digest; None if there is none."""
    wanted = (_versions.c.agent == agent) & (_versions.c.sha256 == sha256)
    number = connection.scalar(select(func.max(_versions.c.number)).where(wanted))
    return None if number is None else int(number)


def version(connection: Connection, agent: str, number: int) -> Version | None:
    """Return one version; None if there is none of this number."""
    wanted = (_versions.c.agent == agent) & (_versions.c.number == number)
    row = connection.execute(select(_versions).where(wanted)).one_or_none()
    return None if row is None else _version(row)


def versions(connection: Connection, agent: str, most: int) -> list[Version]:
    """Return at most `most` versions, newest first."""
    statement = select(_versions).where(_versions.c.agent == agent)
    rows = connection.execute(statement.order_by(_versions.c.number.desc()).limit(most))
    return [_version(row) for row in rows]


def add(connection: Connection, made: Version) -> None:
    """Add a version. One of this number must not be there."""
    values = {name: getattr(made, name) for name in Version.__dataclass_fields__}
    connection.execute(insert(_versions), values)


def keep_document(connection: Connection, sha256: str, document: str, now_ts: int) -> None:
    """Keep a document that was handed in; one that is there already counts as new."""
    connection.execute(delete(_documents).where(_documents.c.sha256 == sha256))
    values = {"sha256": sha256, "document": document, "kept_ts": now_ts}
    connection.execute(insert(_documents), values)


def document(connection: Connection, sha256: str) -> str | None:
    """Return a document that was handed in; None if it is not here."""
    found = connection.scalar(select(_documents.c.document).where(_documents.c.sha256 == sha256))
    return None if found is None else str(found)


def count_documents(connection: Connection) -> int:
    """Count the documents that were handed in."""
    return int(connection.scalar(select(func.count()).select_from(_documents)) or 0)


def prune_documents(connection: Connection, before_ts: int) -> int:
    """Delete documents that were handed in before then; versions keep their own."""
    return connection.execute(delete(_documents).where(_documents.c.kept_ts < before_ts)).rowcount


def _version(row: Row[tuple[object, ...]]) -> Version:
    return Version(**{name: getattr(row, name) for name in Version.__dataclass_fields__})
