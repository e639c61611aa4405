"""Damage of a database's file: looked for before it is used, so that nothing is built on it."""

from __future__ import annotations

import sqlite3

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DatabaseError

from agency.errors import BadInputError
from agency.store.database import Database

# Source: sqlite.org, "Result and Error Codes".
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


async def check_whole(database: Database, hint: str) -> None:
    """Check the structure of a SQLite file: every page, not what stands in the rows.

    `hint` says what brings it back. A server looks after its own files.

    Raises:
        BadInputError: the file is damaged.
    """
    try:
        problem = await database.read(_problem)
    except DatabaseError as error:
        if getattr(error.orig, "sqlite_errorcode", 0) & 0xFF not in _DAMAGED:
            return  # whoever uses it meets the same, and knows what for
        problem = str(error.orig)
    if problem is not None:
        raise BadInputError(f"the database is damaged: {problem}", where="database", hint=hint)


def _problem(connection: Connection) -> str | None:
    """Return the first thing that is wrong in the file; None if nothing is."""
    if connection.dialect.name != "sqlite":
        return None
    found = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar())
    return None if found == "ok" else " ".join(found.split())[:200]
