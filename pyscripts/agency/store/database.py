"""The store and its transactions: one writer at a time, and durable once `write` returns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import create_engine, event
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError

from agency.errors import BadInputError, PrerequisiteError

T = TypeVar("T")

_BUSY_MS = 5000
_BEGIN = "agency_begin"
_SYNCHRONOUS = "agency_synchronous"


def parse_url(database: str) -> URL:
    """Parse a SQLAlchemy async URL, or the path of a SQLite file.

    Raises:
        BadInputError: it is neither.
    """
    if "://" not in database:
        return URL.create("sqlite+aiosqlite", database=database)
    try:
        url = make_url(database)
    except (ArgumentError, ValueError) as error:
        raise BadInputError("not a database URL", where="database") from error
    if url.drivername in ("sqlite", "postgresql"):
        driver = {"sqlite": "aiosqlite", "postgresql": "asyncpg"}[url.drivername]
        url = url.set(drivername=f"{url.drivername}+{driver}")
    if url.drivername not in ("sqlite+aiosqlite", "postgresql+asyncpg"):
        raise BadInputError(
            f"{url.drivername!r} is not supported",
            where="database",
            hint="use sqlite+aiosqlite:///PATH or postgresql+asyncpg://HOST/NAME",
        )
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise BadInputError("the store must be a file", where="database")
    return url


def sqlite_path(url: URL) -> Path | None:
    """Return the file of a SQLite database; None for PostgreSQL."""
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


class Database(Protocol):
    """A database. Work on it is a function over a connection, run as one transaction.

    The functions are synchronous: a whole transaction leaves the event loop once, not once for
    every statement.
    """

    async def write(self, work: Callable[[Connection], T], *, flush: bool = True) -> T:
        """Run `work` in a transaction: on disk when this returns, undone if `work` raises.

        Without `flush`, a crash of this program loses nothing, but a power cut may undo the newest
        transactions (never one that a later flushed transaction follows). Use it only for work
        that has the same result when it is done again.
        """

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` over a consistent view; `work` must not write."""

    async def close(self) -> None:
        """Close every connection."""


class SqliteDatabase:
    """A SQLite file that one thread of this object uses: one writer, and no waiting for locks."""

    def __init__(self, url: URL) -> None:
        self._engine = create_engine(
            url.set(drivername="sqlite"), pool_size=1, max_overflow=0, hide_parameters=True
        )
        _prepare_sqlite(self._engine)
        self._reader = self._engine.execution_options(**{_BEGIN: "DEFERRED"})
        self._unflushed = self._engine.execution_options(**{_SYNCHRONOUS: "NORMAL"})
        self._thread = ThreadPoolExecutor(1, "store")
        self._closed = False

    async def write(self, work: Callable[[Connection], T], *, flush: bool = True) -> T:
        """Run `work` in the thread of this database, in a writing transaction."""
        return await self._run(self._engine if flush else self._unflushed, work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in the thread of this database, in a reading transaction."""
        return await self._run(self._reader, work)

    async def _run(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        def transaction() -> T:
            with engine.begin() as connection:
                return work(connection)

        # A transaction that has begun is finished, even if its caller was cancelled.
        return await asyncio.get_running_loop().run_in_executor(self._thread, transaction)

    async def close(self) -> None:
        """Close the connections, and end the thread."""
        if not self._closed:
            self._closed = True
            await asyncio.get_running_loop().run_in_executor(self._thread, self._engine.dispose)
            self._thread.shutdown()


def open_database(database: str) -> Database:
    """Return a database that connects at its first use.

    Raises:
        BadInputError: the URL is malformed, or of a kind that is not supported.
        PrerequisiteError: the driver is not installed, or the file's directory is missing.
    """
    url = parse_url(database)
    path = sqlite_path(url)
    if path is not None:
        if not path.parent.is_dir():
            raise PrerequisiteError(
                "the directory of the database does not exist", where=str(path.parent)
            )
        return SqliteDatabase(url)
    try:
        from agency.store.postgresql import PostgresqlDatabase

        return PostgresqlDatabase(url)
    except ModuleNotFoundError as error:
        raise PrerequisiteError(
            f"the database driver {error.name} is not installed",
            where="database",
            hint="install agency[postgresql]",
        ) from error


def _prepare_sqlite(engine: Engine) -> None:
    """Set SQLite's per-connection options, and begin transactions explicitly.

    Source: SQLAlchemy documentation, "SQLite: Serializable isolation / transactional DDL".
    """

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver begins no transactions on its own
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout={_BUSY_MS}",
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "recursive_triggers=ON",  # so that REPLACE fires the triggers that guard the audit
            "trusted_schema=OFF",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get(_BEGIN) != "DEFERRED":
            level = options.get(_SYNCHRONOUS, "FULL")
            connection.exec_driver_sql(f"PRAGMA synchronous={level}")
        connection.exec_driver_sql(f"BEGIN {options.get(_BEGIN, 'IMMEDIATE')}")
