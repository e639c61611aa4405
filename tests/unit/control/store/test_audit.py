"""The audit log in a real database: appended with what it records, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from agency.clock import Clock
from agency.control.store import audit
from agency.control.store.audit import AuditEntry, AuditRow, Head, Outcome
from agency.control.store.reading import export_rows, read_head, verify_database
from agency.errors import BadInputError, PrerequisiteError
from agency.store.database import Database

SOME_FIELDS = "ts, trace, actor, action, target, outcome, detail, previous"


def entry(number: int) -> AuditEntry:
    return AuditEntry(f"t-{number}", "@a:x", "ping", "", Outcome.DONE)


async def append(database: Database, clock: Clock, count: int) -> Head:
    entries = [entry(number) for number in range(count)]
    return await database.write(lambda c: audit.append(c, clock, *entries))


def copied(file: Path, place: Path) -> Path:
    """A copy of a closed database that nobody may change, in a directory where nobody may write."""
    place.mkdir()
    copy = place / "log.db"
    copy.write_bytes(file.read_bytes())
    copy.chmod(0o400)
    place.chmod(0o500)
    return copy


async def tamper(database: Database, *statements: str) -> None:
    """Change the database as somebody would who owns it, guards removed."""

    def change(connection: Connection) -> None:
        if connection.dialect.name == "sqlite":
            listed = text("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            guards = [f"DROP TRIGGER {name}" for (name,) in connection.execute(listed).fetchall()]
        else:
            guards = ["ALTER TABLE audit DISABLE TRIGGER ALL"]
        for statement in (*guards, *statements):
            connection.execute(text(statement))

    await database.write(change)


async def outside(look: Callable[..., Any], place: str, *args: Any, **more: Any) -> Any:
    """What somebody sees from outside, beside the running control plane."""
    return await asyncio.to_thread(look, place, *args, **more)


async def test_rows_come_back_as_they_were_written(database: Database, clock: Clock) -> None:
    head = await append(database, clock, 3)
    rows = await database.read(lambda c: audit.tail(c, 10))
    assert [row.action for row in rows] == ["audit open", "ping", "ping", "ping"]
    assert head == Head(4, rows[-1].hash)
    traced = await database.read(lambda c: audit.by_trace(c, "t-1", 10))
    assert [row.sequence for row in traced] == [3]


async def test_append_is_undone_with_its_transaction(
    database: Database, clock: Clock, place: str
) -> None:
    before = await append(database, clock, 1)

    def failing(connection: Connection) -> None:
        audit.append(connection, clock, entry(7))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await database.write(failing)
    assert await outside(read_head, place) == before
    await append(database, clock, 1)
    assert (await outside(verify_database, place)).ok


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET actor = '@b:x' WHERE sequence = 1",
        "DELETE FROM audit WHERE sequence = 1",
        "DELETE FROM audit",
    ],
)
async def test_database_itself_refuses_changes(
    database: Database, clock: Clock, place: str, statement: str
) -> None:
    await append(database, clock, 1)
    with pytest.raises(DBAPIError, match="append-only"):
        await database.write(lambda c: c.execute(text(statement)))
    assert (await outside(verify_database, place)).count == 2


@pytest.mark.parametrize(
    "statement",
    [
        f"INSERT INTO audit SELECT 9, {SOME_FIELDS}, 'h' FROM audit WHERE sequence = 1",
        f"INSERT OR REPLACE INTO audit SELECT 1, {SOME_FIELDS}, 'h' FROM audit WHERE sequence = 1",
    ],
)
async def test_sqlite_refuses_rows_out_of_order(
    database: Database, clock: Clock, database_file: Path, statement: str
) -> None:
    await append(database, clock, 1)
    with pytest.raises(DBAPIError, match="append-only"):
        await database.write(lambda c: c.execute(text(statement)))
    assert (await outside(verify_database, str(database_file))).count == 2


@pytest.mark.parametrize(
    ("statement", "first_bad"),
    [
        ("UPDATE audit SET outcome = 'refused' WHERE sequence = 3", 3),
        ("DELETE FROM audit WHERE sequence = 2", 2),
        ("DELETE FROM audit WHERE sequence = 1", 1),
        ("DELETE FROM audit WHERE sequence = 5", 5),
        ("UPDATE meta SET value = 'other' WHERE key = 'instance'", 1),
        ("UPDATE audit SET sequence = 9 WHERE sequence = 4", 4),
    ],
)
async def test_verify_names_the_first_bad_row(
    database: Database, clock: Clock, place: str, statement: str, first_bad: int
) -> None:
    await append(database, clock, 4)
    assert (await outside(verify_database, place)).ok
    await tamper(database, statement)
    report = await outside(verify_database, place)
    assert (report.ok, report.first_bad) == (False, first_bad)


async def test_cut_end_with_a_doctored_note_is_found_by_a_kept_head(
    database: Database, clock: Clock, place: str
) -> None:
    kept = await append(database, clock, 4)
    rows = await database.read(lambda c: audit.tail(c, 2))
    await tamper(
        database,
        "DELETE FROM audit WHERE sequence = 5",
        f"UPDATE meta SET value = '4:{rows[0].hash}' WHERE key = 'audit_head'",
    )
    assert (await outside(verify_database, place)).ok
    report = await outside(verify_database, place, expected=kept)
    assert (report.ok, report.first_bad) == (False, 5)


async def test_log_is_not_continued_after_its_end_was_cut(
    database: Database, clock: Clock, place: str
) -> None:
    await append(database, clock, 2)
    await tamper(database, "DELETE FROM audit WHERE sequence = 3")
    with pytest.raises(BadInputError, match="does not end at row 3"):
        await database.write(lambda c: audit.open_log(c, "test", clock))


async def test_log_of_another_instance_is_not_continued(database: Database, clock: Clock) -> None:
    await database.write(lambda c: audit.open_log(c, "test", clock))
    with pytest.raises(BadInputError, match="belongs to the instance 'test'"):
        await database.write(lambda c: audit.open_log(c, "other", clock))


async def test_verify_reads_a_copy_that_may_not_be_written(
    database: Database, clock: Clock, database_file: Path, tmp_path: Path
) -> None:
    await append(database, clock, 3)
    await database.close()
    place = tmp_path / "copy"
    copy = copied(database_file, place)
    before = sorted(place.iterdir())
    assert verify_database(copy, instance="test").count == 4
    assert verify_database(copy, instance="other").first_bad == 1
    assert sorted(place.iterdir()) == before


async def test_verify_reads_while_the_log_is_open(
    database: Database, clock: Clock, place: str
) -> None:
    head = await append(database, clock, 3)
    assert (await outside(verify_database, place)).head == head.hash


def test_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="no such file"):
        verify_database(tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"this is not a database, it only is long enough" * 40])
def test_file_without_a_log_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "other.db"
    file.write_bytes(content)
    with pytest.raises((BadInputError, PrerequisiteError)):
        verify_database(file)


async def test_export_gives_every_row_or_the_last(
    database: Database, clock: Clock, place: str
) -> None:
    await append(database, clock, 5)
    seen: list[int] = []

    def add(row: AuditRow) -> None:
        seen.append(row.sequence)

    assert await outside(export_rows, place, add) == 6
    assert seen == [1, 2, 3, 4, 5, 6]
    seen.clear()
    assert await outside(export_rows, place, add, last=2) == 2
    assert seen == [5, 6]
