"""Opening the store, and its transactions: one writer at a time, durable when it returns."""

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
    """A SQLAlchemy async URL, or the path of a SQLite file.

    Raises:
        BadInputError: neither.
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
    """The file of a SQLite database; None for PostgreSQL."""
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


class Database(Protocol):
    """The store. What is done in it is a function over a connection, run as one transaction.

    The functions are plain: a whole transaction leaves the event loop once, not once for every
    statement.
    """

    async def write(self, work: Callable[[Connection], T], *, flush: bool = True) -> T:
        """Run `work`; when this returns it is on disk, and if `work` raises it is undone.

        Without `flush`, a crash of this program loses nothing, but a power cut may undo the last
        such transactions (never one that a later flushed transaction follows). It is for what
        comes out the same when it is done again.
        """

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` over a consistent view; it must not write."""

    async def close(self) -> None:
        """Close every connection."""


class SqliteDatabase:
    """A SQLite file, used by one thread of its own: one writer, and no waiting for locks."""

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
        """See `Database`."""
        return await self._run(self._engine if flush else self._unflushed, work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """See `Database`."""
        return await self._run(self._reader, work)

    async def _run(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        def transaction() -> T:
            with engine.begin() as connection:
                return work(connection)

        # A transaction that has begun is finished, also when nobody waits for it any more.
        return await asyncio.get_running_loop().run_in_executor(self._thread, transaction)

    async def close(self) -> None:
        """See `Database`."""
        if not self._closed:
            self._closed = True
            await asyncio.get_running_loop().run_in_executor(self._thread, self._engine.dispose)
            self._thread.shutdown()


def open_database(database: str) -> Database:
    """A database that connects when it is first used.

    Raises:
        BadInputError: the URL is not one of ours.
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
    """Set what SQLite keeps per connection, and begin transactions ourselves.

    Source: SQLAlchemy documentation, "SQLite: Serializable isolation / transactional DDL".
    """

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver begins nothing on its own
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
