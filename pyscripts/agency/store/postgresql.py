"""The store in PostgreSQL; imported only for a PostgreSQL URL."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import text
from sqlalchemy.engine import URL, Connection
from sqlalchemy.ext.asyncio import create_async_engine

T = TypeVar("T")

_WRITER_LOCK = 0x6167656E6379  # advisory lock of the one writer


class PostgresqlDatabase:
    """A PostgreSQL database. An advisory lock makes its writers take turns."""

    def __init__(self, url: URL) -> None:
        self._engine = create_async_engine(
            url,
            pool_size=3,
            max_overflow=0,
            pool_pre_ping=True,
            hide_parameters=True,
            isolation_level="REPEATABLE READ",
        )
        self._writer = self._engine.execution_options(isolation_level="READ COMMITTED")

    async def write(self, work: Callable[[Connection], T], *, flush: bool = True) -> T:
        """Run `work` in a transaction, once no other writer is in one."""

        def locked(connection: Connection) -> T:
            if not flush:
                connection.execute(text("SET LOCAL synchronous_commit TO off"))
            lock = text("SELECT pg_advisory_xact_lock(:key)")
            connection.execute(lock, {"key": _WRITER_LOCK})
            return work(connection)

        async with self._writer.begin() as connection:
            return await connection.run_sync(locked)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a repeatable-read transaction."""
        async with self._engine.begin() as connection:
            return await connection.run_sync(work)

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()
