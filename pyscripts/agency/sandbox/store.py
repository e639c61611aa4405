"""Leases in one SQLite file: every change is a transaction that holds the write lock."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import astuple, fields
from pathlib import Path

from agency.errors import AgencyError, BadInputError, PrerequisiteError
from agency.sandbox.lease import Bounds, Lease, State

_VERSION = 1
_BUSY_S = 10.0
_SCHEMA = """
CREATE TABLE lease (
    name TEXT PRIMARY KEY,
    source TEXT NOT NULL,
    commit_id TEXT,
    state TEXT NOT NULL,
    created_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    memory_mb INTEGER NOT NULL,
    cpus INTEGER NOT NULL,
    port INTEGER UNIQUE
) STRICT
"""
_COLUMNS = "name, source, commit_id, state, created_at, expires_at, memory_mb, cpus, port"
_FIELDS = tuple(one.name for one in fields(Lease))
_MARKS = ", ".join("?" * len(fields(Lease)))


class NoRoomError(AgencyError):
    """A lease beyond the limits of this machine."""


class Leases:
    """Store of leases. Each call opens the file anew: processes may share it and may be killed."""

    def __init__(self, file: Path, bounds: Bounds) -> None:
        self._file = file
        self._bounds = bounds

    def all(self) -> tuple[Lease, ...]:
        """List every lease, by its end, earliest first."""
        with self._transaction() as db:
            return _all(db)

    def get(self, name: str) -> Lease | None:
        """Read one lease."""
        return next((lease for lease in self.all() if lease.name == name), None)

    def add(self, lease: Lease) -> None:
        """Add a lease, if the bounds allow one more of its size.

        Raises:
            NoRoomError: they do not.
        """
        with self._transaction() as db:
            _refuse_beyond(self._bounds, (*_all(db), lease))
            db.execute(f"INSERT INTO lease ({_COLUMNS}) VALUES ({_MARKS})", astuple(lease))  # noqa: S608 - constants

    def ready(self, name: str, port: int) -> bool:
        """Record that the machine of a lease answers on a port; False if the lease was ended."""
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE lease SET state = ?, port = ? WHERE name = ?", (State.READY, port, name)
            )
            return changed.rowcount == 1

    def remove(self, name: str) -> None:
        """Forget a lease; a missing one is no error."""
        with self._transaction() as db:
            db.execute("DELETE FROM lease WHERE name = ?", (name,))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.closing(
                sqlite3.connect(self._file, timeout=_BUSY_S, isolation_level=None)
            ) as db:
                db.execute("BEGIN IMMEDIATE")
                try:
                    self._migrate(db)
                    yield db
                except BaseException:
                    db.execute("ROLLBACK")
                    raise
                db.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            raise PrerequisiteError(
                f"the leases cannot be kept: {error}",
                where=str(self._file),
                hint="check the rights and the free space there",
            ) from error

    def _migrate(self, db: sqlite3.Connection) -> None:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > _VERSION:
            raise BadInputError(
                f"written by a newer version (schema {version}, known is {_VERSION})",
                where=str(self._file),
                hint="use that version of the agency",
            )
        if version < _VERSION:
            db.execute(_SCHEMA)
            db.execute(f"PRAGMA user_version = {_VERSION}")


def _all(db: sqlite3.Connection) -> tuple[Lease, ...]:
    rows = db.execute(f"SELECT {_COLUMNS} FROM lease ORDER BY expires_at, name")  # noqa: S608 - constants
    return tuple(
        Lease(**{**dict(zip(_FIELDS, row, strict=True)), "state": State(row[3])}) for row in rows
    )


def _refuse_beyond(bounds: Bounds, leases: tuple[Lease, ...]) -> None:
    sums = (
        ("leases", len(leases), bounds.leases),
        ("MiB of memory", sum(lease.memory_mb for lease in leases), bounds.memory_mb),
        ("cpus", sum(lease.cpus for lease in leases), bounds.cpus),
    )
    for what, wanted, allowed in sums:
        if wanted > allowed:
            raise NoRoomError(
                f"with this one there would be {wanted} {what}, and {allowed} are allowed",
                where="sandbox",
                hint="end a lease with `agency sandbox down NAME`, or wait until one expires",
            )
