"""The audit log with 100,000 rows: appending to it, verifying it, and looking at its file.

The baseline of an append is a bare commit of a row of the same size, in a SQLite file of the same
settings, made in between.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from agency.clock import Clock
from agency.control import verify_database
from agency.control.store import audit, schema
from agency.control.store.audit import AuditEntry, AuditRow, Outcome
from agency.store import Database, check_whole, migrate, open_database
from benchmarks.rows import Row, percentile

ROWS = 100_000
_TIMED = 1000
_BATCH = 1000


def entry(number: int) -> AuditEntry:
    """Make a row as a command makes one."""
    detail = audit.audit_detail(
        said="!agency agents start pm --project=site", event=f"${number:043}"
    )
    actor = "@alice:agency.example"
    return AuditEntry(f"t-{number:026}", actor, "agents start", "pm", Outcome.DONE, detail)


class BareCommits:
    """A SQLite file of the same settings, and one table without anything around it."""

    def __init__(self, place: Path) -> None:
        self._connection = sqlite3.connect(place, isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute("CREATE TABLE bare (number INTEGER PRIMARY KEY, row TEXT)")

    def commit(self, row: AuditRow) -> float:
        """Commit the fields of a row; return the seconds that it took."""
        text = "".join(map(str, row.as_dict().values()))
        begun = time.perf_counter()
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute("INSERT INTO bare (row) VALUES (?)", (text,))
        self._connection.execute("COMMIT")
        return time.perf_counter() - begun

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


async def _fill(database: Database, clock: Clock, count: int) -> None:
    for first in range(0, count, _BATCH):
        entries = [entry(first + number) for number in range(min(_BATCH, count - first))]
        await database.write(lambda c, e=entries: audit.append(c, clock, *e), flush=False)  # type: ignore[misc]


async def _measure(place: Path, total: int, timed: int) -> Iterator[Row]:
    clock, file = Clock(), place / "control.db"
    database = open_database(str(file))
    ours, bare = [], []
    try:
        await migrate(database, schema.SCHEMA)
        await database.write(lambda c: audit.open_log(c, "bench", clock))
        await _fill(database, clock, total - timed - 1)
        (last,) = await database.read(lambda c: audit.tail(c, 1))
        with closing(BareCommits(place / "bare.db")) as commits:
            for number in range(timed):
                one = entry(total + number)
                begun = time.perf_counter()
                await database.write(lambda c, e=one: audit.append(c, clock, e))  # type: ignore[misc]
                ours.append(time.perf_counter() - begun)
                bare.append(commits.commit(last))
        begun = time.perf_counter()
        await check_whole(database, "")
        checked_s = time.perf_counter() - begun
    finally:
        await database.close()
    begun = time.perf_counter()
    report = await asyncio.to_thread(verify_database, file)
    verified_s = time.perf_counter() - begun
    if not report.ok or report.count != total:
        raise RuntimeError(f"the log is not as it was written: {report}")
    return rows_of(ours, bare, verified_s, checked_s)


def rows_of(
    ours: list[float], bare: list[float], verified_s: float, checked_s: float
) -> Iterator[Row]:
    """Make the rows."""
    bare_ms = percentile(bare, 0.99) * 1000
    commit = "a bare SQLite commit of the same size"
    append_ms = percentile(ours, 0.99) * 1000
    yield Row("audit.append.p99", append_ms, "ms", commit, bare_ms, 3.0, limit_on="ratio")
    yield Row("audit.verify", verified_s, "s", commit, bare_ms / 1000, 5.0)
    yield Row("store.check_at_start", checked_s, "s", commit, bare_ms / 1000, 1.0)


def rows() -> Iterator[Row]:
    """Measure a log of 100,000 rows."""
    with tempfile.TemporaryDirectory() as place:
        yield from asyncio.run(_measure(Path(place), ROWS, _TIMED))
