"""Reading of the audit log from outside: read-only, in one pass, without the control plane.

This is the auditor's way in. It also works on a copy of the database, on a read-only disk, and
while the control plane runs.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from sqlalchemy import text
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import DBAPIError

from agency.chain import Head
from agency.control.store.chain import AuditRow, ChainReport, genesis, verify_chain
from agency.errors import BadInputError, PrerequisiteError
from agency.store import open_database, parse_url, sqlite_path

T = TypeVar("T")
_COLUMNS = ", ".join(field.name for field in fields(AuditRow))
_ROWS = f"SELECT {_COLUMNS} FROM audit ORDER BY sequence"  # noqa: S608 - our own column names
_INSTANCE = "SELECT value FROM meta WHERE key = 'instance'"
_HEAD = "SELECT value FROM meta WHERE key = 'audit_head'"
_LAST = "SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1"
_Query = Callable[[str], Iterable[tuple[object, ...]]]


def verify_database(
    database: str | Path, *, instance: str | None = None, expected: Head | None = None
) -> ChainReport:
    """Verify the whole log of a database (a URL or a SQLite file).

    `instance` is the name that the log must be bound to; if None, the name that the database itself
    gives. `expected` is a head that was kept elsewhere.

    Raises:
        PrerequisiteError: the database cannot be opened. BadInputError: it holds no audit log.
    """

    def verify(query: _Query) -> ChainReport:
        name = instance or _one(query(_INSTANCE))
        report = verify_chain(_rows(query(_ROWS)), instance=name, expected=expected)
        if not report.ok:
            return report
        # The control plane records the head itself: that reveals a careless cut.
        count, _, digest = _one(query(_HEAD)).partition(":")
        noted = Head(int(count), digest)
        if noted != Head(report.count, report.head):
            reason = f"the log ends after row {report.count}, the control plane left it at {count}"
            bad = min(report.count, noted.sequence) + 1
            return ChainReport(False, report.count, report.head, bad, reason)
        return report

    return _with_query(database, verify)


def read_head(database: str | Path) -> Head:
    """Return the last row's number and hash, unverified, from a database (a URL or a SQLite file).

    Raises:
        PrerequisiteError: the database cannot be opened. BadInputError: it holds no audit log.
    """

    def read(query: _Query) -> Head:
        for sequence, digest in query(_LAST):
            return Head(int(str(sequence)), str(digest))
        return Head(0, genesis(_one(query(_INSTANCE))))

    return _with_query(database, read)


def export_rows(
    database: str | Path, write: Callable[[AuditRow], None], *, last: int | None = None
) -> int:
    """Pass every row (or the last ones) to `write`, oldest first; return their number."""

    def export(query: _Query) -> int:
        first = 1
        if last is not None:
            first = max((int(str(s)) for s, _ in query(_LAST)), default=0) - last + 1
        count = 0
        for row in _rows(query(_ROWS)):
            if row.sequence >= first:
                write(row)
                count += 1
        return count

    return _with_query(database, export)


def _rows(found: Iterable[tuple[object, ...]]) -> Iterator[AuditRow]:
    return (AuditRow(*row) for row in found)  # type: ignore[arg-type]  # a wrong type fails its hash


def _one(found: Iterable[tuple[object, ...]]) -> str:
    for row in found:
        return str(row[0])
    raise BadInputError("this database holds no audit log", where="database")


def _with_query(database: str | Path, use: Callable[[_Query], T]) -> T:
    url = parse_url(str(database))
    path = sqlite_path(url)
    try:
        if path is None:
            return _on_server(url, use)
        with _read_only(path) as connection:
            return use(connection.execute)
    except (sqlite3.Error, DBAPIError, OSError) as error:
        missing = "no such table" in str(error) or "does not exist" in str(error)
        if missing and (path is None or path.exists()):
            raise BadInputError(
                "this database holds no audit log", where=str(path or "database")
            ) from error
        raise PrerequisiteError(
            f"cannot read the database: {error}",
            where=str(path or "database"),
            hint="name the control plane's database, and check that you may read it",
        ) from error


@contextmanager
def _read_only(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a SQLite file without leaving a file beside it; a copy on a read-only disk will do.

    Without a write-ahead log beside it no process has the file open, and it can be read as it is.
    """
    if not path.is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    path = path.resolve()  # SQLite keeps the log beside the file that a link names
    in_use = path.with_name(path.name + "-wal").exists()
    place = f"file:{quote(str(path))}?" + ("mode=ro" if in_use else "mode=ro&immutable=1")
    with closing(sqlite3.connect(place, uri=True, timeout=5)) as connection:
        connection.execute("PRAGMA query_only=ON")
        connection.execute("BEGIN")
        yield connection


def _on_server(url: URL, use: Callable[[_Query], T]) -> T:
    def work(connection: Connection) -> T:
        connection.execute(text("SET TRANSACTION READ ONLY"))
        return use(lambda sql: (tuple(row) for row in connection.execute(text(sql))))

    async def run() -> T:
        database = open_database(url.render_as_string(hide_password=False))
        try:
            return await database.read(work)
        finally:
            await database.close()

    return asyncio.run(run())
