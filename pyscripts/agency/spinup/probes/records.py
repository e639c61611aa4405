"""Probes of the control plane's store: schema, integrity and the audit chain."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Annotated

from pydantic import Field

from agency.errors import BadInputError
from agency.spinup.probes.probe import Here, Moment, Nothing, probe
from agency.spinup.record import Evidence


class Trace(Nothing):
    """A command, by its trace."""

    trace: Annotated[str, Field(max_length=64)]


class Sequence(Nothing):
    """A row of the audit log, by its number."""

    sequence: Annotated[int, Field(ge=1)]


def _open(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)


@probe("store.schema", Nothing, at=Moment.RECORDS)
def schema(here: Here, _told: Nothing) -> Evidence:
    """Read the schema's revision, SQLite's own integrity check, and the journal mode."""
    with closing(_open(here.database)) as connection:
        return {
            "revision": connection.execute("SELECT version_num FROM alembic_version").fetchone()[0],
            "integrity": connection.execute("PRAGMA integrity_check").fetchone()[0],
            "journalMode": connection.execute("PRAGMA journal_mode").fetchone()[0],
        }


@probe("audit.count", Nothing)
def audit_count(here: Here, _told: Nothing) -> Evidence:
    """Count the rows of the audit log."""
    with closing(_open(here.database)) as connection:
        return {"count": int(connection.execute("SELECT count(*) FROM audit").fetchone()[0])}


@probe("audit.outcome", Trace)
def audit_outcome(here: Here, told: Trace) -> Evidence:
    """Read the outcome of the last audit row of a trace; None where there is no row."""
    with closing(_open(here.database)) as connection:
        row = connection.execute(
            "SELECT outcome FROM audit WHERE trace = ? ORDER BY sequence DESC LIMIT 1",
            (told.trace,),
        ).fetchone()
        return {"outcome": None if row is None else str(row[0])}


@probe("audit.row", Sequence)
def audit_row(here: Here, told: Sequence) -> Evidence:
    """Read the audit log's end as it was when it had so many rows: `count` and `head`.

    Raises:
        BadInputError: it has fewer.
    """
    with closing(_open(here.database)) as connection:
        row = connection.execute(
            "SELECT sequence, hash FROM audit WHERE sequence = ?", (told.sequence,)
        ).fetchone()
    if row is None:
        raise BadInputError(f"there is no row {told.sequence}", where="the audit log")
    return {"count": int(row[0]), "head": str(row[1])}


@probe("audit.chain", Nothing, at=Moment.RECORDS)
def chain(here: Here, _told: Nothing) -> Evidence:
    """Verify the audit log's chain from the first row on; its length and head."""
    from agency.control import verify_database

    report = verify_database(here.database)
    return {
        "count": report.count,
        "head": report.head,
        "verified": report.ok,
        "reason": report.reason,
    }
