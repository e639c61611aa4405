"""What is seen in the control plane's store: schema, integrity and the audit chain."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from agency.errors import BadInputError
from agency.spinup.record import Evidence


def _open(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)


def schema(database: Path) -> Evidence:
    """The schema's revision, SQLite's own integrity check, and the journal mode."""
    with closing(_open(database)) as connection:
        return {
            "revision": connection.execute("SELECT version_num FROM alembic_version").fetchone()[0],
            "integrity": connection.execute("PRAGMA integrity_check").fetchone()[0],
            "journalMode": connection.execute("PRAGMA journal_mode").fetchone()[0],
        }


def audit_count(database: Path) -> int:
    """How many rows the audit log has."""
    with closing(_open(database)) as connection:
        return int(connection.execute("SELECT count(*) FROM audit").fetchone()[0])


def audit_outcome(database: Path, trace: str) -> str | None:
    """The outcome of the last audit row of a trace."""
    with closing(_open(database)) as connection:
        row = connection.execute(
            "SELECT outcome FROM audit WHERE trace = ? ORDER BY sequence DESC LIMIT 1", (trace,)
        ).fetchone()
        return None if row is None else str(row[0])


def audit_row(database: Path, sequence: int) -> Evidence:
    """The audit log's end as it was when it had so many rows.

    Raises:
        BadInputError: it has fewer.
    """
    with closing(_open(database)) as connection:
        row = connection.execute(
            "SELECT sequence, hash FROM audit WHERE sequence = ?", (sequence,)
        ).fetchone()
    if row is None:
        raise BadInputError(f"there is no row {sequence}", where="the audit log")
    return {"count": int(row[0]), "head": str(row[1])}


def chain(database: Path) -> Evidence:
    """The audit log's length and head, and whether its chain holds from the first row on."""
    from agency.control.store.reading import verify_database

    report = verify_database(database)
    return {
        "count": report.count,
        "head": report.head,
        "verified": report.ok,
        "reason": report.reason,
    }
