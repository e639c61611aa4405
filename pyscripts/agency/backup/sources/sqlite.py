"""SQLite stores: a copy by SQLite's online backup, as of one moment, beside a writer.

The source is opened to be read only, so that root leaves no file of its own beside it.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from agency.errors import BadInputError, PrerequisiteError

BUSY_S = 30.0
_TRIES = 5
_TRY_EVERY_S = 0.2


def copy_store(source: Path, target: Path) -> None:
    """Copy a store to a new file, and check the copy's integrity.

    Raises:
        PrerequisiteError: the store cannot be read, or there is no room for its copy.
        BadInputError: the store is damaged.
    """
    if not source.is_file():
        raise PrerequisiteError(
            "the store does not exist",
            where=str(source),
            hint="start its service once; it makes the file",
        )
    for left in reversed(range(_TRIES)):
        target.unlink(missing_ok=True)
        if _copied(source, target):
            break
        if not left:
            raise PrerequisiteError(
                "the store was opened and closed during each copy", where=str(source)
            )
        time.sleep(_TRY_EVERY_S)
    _check(target, source)


def _copied(source: Path, target: Path) -> bool:
    """Copy once; return False if a process opened or closed the store meanwhile.

    Without a write-ahead log no process has it open: then it is read as it is. SQLite would have to
    make files beside it otherwise.
    """
    unused, before = not _has_log(source), source.stat()
    mode = "mode=ro&immutable=1" if unused else "mode=ro"
    try:
        with (
            closing(sqlite3.connect(f"file:{quote(str(source))}?{mode}", uri=True)) as found,
            closing(sqlite3.connect(target)) as copy,
        ):
            found.execute(f"PRAGMA busy_timeout={int(BUSY_S * 1000)}")
            found.backup(copy, pages=-1)
            # The copy is one file, without a log of its own.
            copy.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        raise _fault(source, error) from error
    after = source.stat()
    same = (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size)
    return not unused or (same and not _has_log(source))


def _has_log(source: Path) -> bool:
    return source.with_name(f"{source.name}-wal").exists()


def _fault(source: Path, error: sqlite3.Error) -> PrerequisiteError | BadInputError:
    code = getattr(error, "sqlite_errorcode", None)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return BadInputError(
            f"the store is damaged: {error}",
            where=str(source),
            hint="keep it as evidence, and restore an older snapshot",
        )
    return PrerequisiteError(
        f"the store cannot be copied: {error}",
        where=str(source),
        hint="run this as root, and look at the free space of the state directory",
    )


def _check(copy: Path, source: Path) -> None:
    try:
        with closing(_opened(copy)) as connection:
            found = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
    except sqlite3.Error as error:
        raise _fault(source, error) from error
    if found != "ok":
        raise BadInputError(
            f"the store is damaged: {found}",
            where=str(source),
            hint="keep it as evidence, and restore an older snapshot",
        )


def rows_of(store: Path) -> dict[str, int]:
    """Count the rows of each table of a store that nobody has open."""
    with closing(_opened(store)) as connection:
        names = [
            str(row[0])
            for row in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' "
                "AND name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY name"
            )
        ]
        return {name: _count(connection, name) for name in names}


def _count(connection: sqlite3.Connection, table: str) -> int:
    quoted = table.replace('"', '""')
    found = connection.execute(f'SELECT count(*) FROM "{quoted}"')  # noqa: S608 - quoted
    return int(found.fetchone()[0])


def revision_of(store: Path) -> str | None:
    """Return the revision of a store's schema; None if it names none."""
    with closing(_opened(store)) as connection:
        try:
            found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            return None
        return None if found is None else str(found[0])


def _opened(store: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(store))}?mode=ro&immutable=1", uri=True)
