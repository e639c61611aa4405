"""Opening the store, and its transactions: one writer at a time, durable when it returns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event, text
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from agency.errors import BadInputError, PrerequisiteError

_BUSY_MS = 5000
_BEGIN = "agency_begin"
_WRITER_LOCK = 0x6167656E6379  # PostgreSQL advisory lock: the one writer of this database


def parse_url(database: str) -> URL:
    """A SQLAlchemy async URL, or the path of a SQLite file.

    Raises:
        BadInputError: neither.
    """
    if "://" not in database:
        return URL.create("sqlite+aiosqlite", database=database)
    try:
        url = make_url(database)
    except ArgumentError as error:
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


class Database:
    """The store. `write` and `read` are transactions; SQL stands in the modules beside this one."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._reader = engine.execution_options(**{_BEGIN: "DEFERRED"})
        self._writing = asyncio.Lock()

    @property
    def is_sqlite(self) -> bool:
        """Whether it is SQLite, not PostgreSQL."""
        return self._engine.dialect.name == "sqlite"

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that is on disk when the block ends, and undone if it raises."""
        async with self._writing, self._engine.begin() as connection:
            if not self.is_sqlite:
                await connection.execute(
                    text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITER_LOCK}
                )
            yield connection

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A consistent view; waits for no writer."""
        async with self._reader.begin() as connection:
            yield connection

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()


def open_database(database: str) -> Database:
    """A database that connects when it is first used.

    Raises:
        BadInputError: the URL is not one of ours.
        PrerequisiteError: the driver is not installed, or the file's directory is missing.
    """
    url = parse_url(database)
    path = sqlite_path(url)
    try:
        if path is None:
            engine = create_async_engine(url, pool_size=3, max_overflow=0, pool_pre_ping=True)
        else:
            if not path.parent.is_dir():
                raise PrerequisiteError(
                    "the directory of the database does not exist", where=str(path.parent)
                )
            engine = create_async_engine(url, pool_size=3, max_overflow=0)
            _prepare_sqlite(engine)
    except ModuleNotFoundError as error:
        raise PrerequisiteError(
            f"the database driver {error.name} is not installed",
            where="database",
            hint="install agency[postgresql]",
        ) from error
    return Database(engine)


def _prepare_sqlite(engine: AsyncEngine) -> None:
    """Set what SQLite keeps per connection, and begin transactions ourselves.

    Source: SQLAlchemy documentation, "SQLite: Serializable isolation / transactional DDL".
    """

    @event.listens_for(engine.sync_engine, "connect")
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

    @event.listens_for(engine.sync_engine, "begin")
    def _begun(connection: Connection) -> None:
        mode = connection.get_execution_options().get(_BEGIN, "IMMEDIATE")
        connection.exec_driver_sql(f"BEGIN {mode}")
