"""Probes of the control plane's store: schema, integrity and the audit chain."""

from __future__ import annotations

import json
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


class After(Nothing):
    """The rows of the audit log after a number, and the targets that they are about."""

    after: Annotated[int, Field(ge=0)]
    targets: Annotated[tuple[str, ...], Field(max_length=8, strict=False)]


class Action(Trace):
    """An operation, by its trace and its action."""

    action: Annotated[str, Field(max_length=64)]


class Secret(Nothing):
    """A secret of the vault, by its name."""

    secret: Annotated[str, Field(max_length=64)]


class Sequence(Nothing):
    """A row of the audit log, by its number."""

    sequence: Annotated[int, Field(ge=1)]


_MOST_ROWS = 200
_ROW = "sequence, ts, trace, actor, action, target, outcome"
_TOLD = ("digest", "operation", "rule", "version", "lease", "held", "seen")  # of a row's detail


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


@probe("audit.rows", After)
def audit_rows(here: Here, told: After) -> Evidence:
    """Read the rows about some targets after a number, oldest first, at most 200.

    Of the detail only digest, operation, rule, versions, lease and difference.
    """
    places = ", ".join("?" * len(told.targets))
    query = (
        f"SELECT {_ROW}, detail FROM audit WHERE sequence > ? AND target IN ({places})"  # noqa: S608
        f" ORDER BY sequence LIMIT {_MOST_ROWS}"
    )
    with closing(_open(here.database)) as connection:
        rows = connection.execute(query, (told.after, *told.targets)).fetchall()
    return {"rows": [_row(row) for row in rows]}


def _row(row: tuple[object, ...]) -> Evidence:
    *fields, detail = row
    known = json.loads(str(detail) or "{}")
    facts = {name: known[name] for name in _TOLD if name in known}
    return {**dict(zip(_ROW.split(", "), fields, strict=True)), **facts}


@probe("operation.record", Action)
def operation_record(here: Here, told: Action) -> Evidence:
    """Read an operation from the store, and every grant of it.

    Raises:
        BadInputError: there is none, or several.
    """
    columns = ("id", "origin_kind", "actor", "action", "target", "digest", "state", "trace")
    with closing(_open(here.database)) as connection:
        found = connection.execute(
            f"SELECT {', '.join(columns)}, rule FROM operations"  # noqa: S608
            " WHERE trace = ? AND action = ?",
            (told.trace, told.action),
        ).fetchall()
        if len(found) != 1:
            raise BadInputError(
                f"{len(found)} operations {told.action} of trace {told.trace}", where="the store"
            )
        *fields, rule = found[0]
        grants = connection.execute(
            "SELECT granted_by, digest, spent_ts IS NOT NULL FROM grants WHERE operation_id = ?"
            " ORDER BY granted_ts",
            (fields[0],),
        ).fetchall()
    names = ("id", "cause", *columns[2:])
    return {
        **dict(zip(names, fields, strict=True)),
        "rule": rule,
        "grants": [
            {"by": by, "digest": digest, "spent": bool(spent)} for by, digest, spent in grants
        ],
    }


@probe("vault.secret", Secret)
def vault_secret(here: Here, told: Secret) -> Evidence:
    """Look for a secret in the vault: if it is there, with its version, and to whom it is bound."""
    with closing(_open(here.database)) as connection:
        found = connection.execute(
            "SELECT version FROM secrets WHERE name = ?", (told.secret,)
        ).fetchone()
        bound = connection.execute(
            "SELECT agent FROM secret_bindings WHERE secret = ? ORDER BY agent", (told.secret,)
        ).fetchall()
    return {
        "present": found is not None,
        "version": None if found is None else int(found[0]),
        "agents": [agent for (agent,) in bound],
    }


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
