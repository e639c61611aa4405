"""The holder of a database: the one process that keeps state in it, for as long as it lives.

    SQLite      flock(2) on FILE.lock beside the database; that file describes the holder
    PostgreSQL  an advisory lock of one session; a comment in the session's statements describes
                the holder, and the server shows it to other sessions of the same role

The kernel, or the server, releases the lock when the holder ends, however it ends. A record kept
in a table could outlive its holder, and would need the tables before they are migrated.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from agency.errors import PrerequisiteError
from agency.locks import take
from agency.store.database import sqlite_path

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

_log = logging.getLogger(__name__)

_MAX_RECORD_BYTES = 500  # PostgreSQL shows 1024 bytes of a statement
_KEY = 0x6167656E637901  # differs from the key of PostgresqlDatabase's writers
_MARK = "agency holder "
_CHECK_EVERY_S = 10.0
_ANSWER_S = 10.0
_RETRY_S = 1.0
_TRIES = 5  # a server needs a moment to notice that a killed holder is gone
_TRY_EVERY_S = 0.2
# So that the server notices a holder whose machine is gone; in seconds, and a count.
_KEEPALIVE = {
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}
_WHO = f"""
SELECT a.query, a.pid FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.classid::bigint = {_KEY >> 32} AND l.objid::bigint = {_KEY & 0xFFFFFFFF}
"""  # noqa: S608 - our own numbers


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a database."""

    pid: int
    host: str
    state_dir: str

    @classmethod
    def here(cls, state_dir: Path) -> Holder:
        """Describe this process as the holder."""
        return cls(os.getpid(), socket.gethostname(), str(state_dir))

    def record(self) -> bytes:
        """Encode the holder on one line; a long path loses its beginning."""
        excess = len(json.dumps(asdict(self))) - _MAX_RECORD_BYTES
        cut = self.state_dir if excess <= 0 else f"...{self.state_dir[excess + 3 :]}"
        return json.dumps({"pid": self.pid, "host": self.host, "state_dir": cut}).encode()

    @classmethod
    def read(cls, record: bytes) -> Holder | None:
        """Decode a record; None if it is malformed."""
        try:
            found = json.loads(record)
            return cls(int(found["pid"]), str(found["host"]), str(found["state_dir"]))
        except (ValueError, KeyError, TypeError):
            return None


class Hold(Protocol):
    """A lock on a database that this process holds."""

    async def watch(self) -> None:
        """Wait forever while the database is held.

        Raises:
            PrerequisiteError: the lock was lost, and another process holds it now.
        """


@asynccontextmanager
async def hold(url: URL, holder: Holder) -> AsyncIterator[Hold]:
    """Hold a database for the length of the block.

    Raises:
        PrerequisiteError: another process holds it, or the database cannot be reached.
    """
    path = sqlite_path(url)
    if path is not None:
        with _hold_file(path, holder):
            yield _FileHold()
        return
    server = _ServerHold(url, holder)
    try:
        await server.take()
        yield server
    finally:
        await server.release()


def _held(by: Holder | None, otherwise: str) -> PrerequisiteError:
    who = (
        f"process {by.pid} on {by.host}, with the state directory {by.state_dir}"
        if by is not None
        else otherwise
    )
    return PrerequisiteError(
        f"the database is held by {who}",
        where="database",
        hint="stop it first, or give this one a database of its own",
    )


class _FileHold:
    """A lock on a file; it cannot be lost while its descriptor is open."""

    async def watch(self) -> None:
        """Wait forever."""
        await asyncio.Event().wait()


@contextmanager
def _hold_file(database: Path, holder: Holder) -> Iterator[None]:
    real = database.resolve()  # two names of one file are one database
    path = real.with_name(f"{real.name}.lock")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise PrerequisiteError(
            f"cannot lock the database: {error.strerror or error}",
            where=str(path),
            hint="check the permissions and the free space of that directory",
        ) from error
    try:
        if not take(descriptor):
            record = os.pread(descriptor, _MAX_RECORD_BYTES + 1, 0)
            raise _held(Holder.read(record), "a process that has just started")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, holder.record() + b"\n", 0)
        yield
    finally:
        os.close(descriptor)


@dataclass(slots=True)
class _ServerHold:
    """The advisory lock of one session of a PostgreSQL server."""

    url: URL
    holder: Holder
    _engine: AsyncEngine | None = None
    _session: AsyncConnection | None = field(default=None)

    @property
    def _comment(self) -> str:
        # Base 64 has no `*/`: a path cannot end the comment.
        return f"/* {_MARK}{urlsafe_b64encode(self.holder.record()).decode()} */"

    async def take(self) -> None:
        """Open a session, and take the lock in it."""
        from sqlalchemy.ext.asyncio import create_async_engine
        from sqlalchemy.pool import NullPool

        if self._engine is None:
            self._engine = create_async_engine(
                self.url,
                poolclass=NullPool,
                hide_parameters=True,
                isolation_level="AUTOCOMMIT",
                connect_args={"server_settings": _KEEPALIVE},
            )
        try:
            async with asyncio.timeout(_ANSWER_S):
                self._session = await self._engine.connect()
                for left in reversed(range(_TRIES)):
                    if await self._ask(f"SELECT pg_try_advisory_lock({_KEY})"):
                        return
                    await asyncio.sleep(_TRY_EVERY_S if left else 0)
                row = (await self._session.exec_driver_sql(_WHO)).first()
        except (SQLAlchemyError, OSError) as error:
            reason = str(getattr(error, "orig", None) or error) or type(error).__name__
            raise PrerequisiteError(
                f"cannot use the database: {reason}",
                where="database",
                hint="check that the server runs, and that this database exists and may be used",
            ) from error
        raise _held(*_described(row))

    async def watch(self) -> None:
        """Check the session every few seconds; if it was lost, take the lock in a new one."""
        while True:
            await asyncio.sleep(_CHECK_EVERY_S)
            try:
                async with asyncio.timeout(_ANSWER_S):
                    await self._ask("SELECT 1")
            except (SQLAlchemyError, OSError):
                _log.error("the session that holds the database was lost; taking the lock again")
                await self._take_again()

    async def _take_again(self) -> None:
        while True:
            await self._drop()
            try:
                await self.take()
            except PrerequisiteError as error:
                if error.__cause__ is None:  # the server answers: another process holds the lock
                    raise
                await asyncio.sleep(_RETRY_S)
                continue
            return

    async def release(self) -> None:
        """Close the session, which releases the lock."""
        await self._drop()
        if self._engine is not None:
            await self._engine.dispose()

    async def _drop(self) -> None:
        if self._session is not None:
            with suppress(SQLAlchemyError, OSError):
                await self._session.invalidate()
                await self._session.close()
            self._session = None

    async def _ask(self, statement: str) -> object:
        """Return the one value of a statement, sent with the comment that describes the holder."""
        assert self._session is not None
        return (await self._session.exec_driver_sql(f"{statement} {self._comment}")).scalar()


def _described(row: Sequence[object] | None) -> tuple[Holder | None, str]:
    """Return the holder, from its statement, and a description of its session."""
    if row is None:
        return None, "a process that has just ended"
    query, pid = row
    record = str(query).partition(_MARK)[2].partition(" ")[0]
    with suppress(ValueError):
        return Holder.read(urlsafe_b64decode(record)), f"the server's session {pid}"
    return None, f"the server's session {pid}"
