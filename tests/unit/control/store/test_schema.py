"""The database is brought to this code's schema, or refused whole."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from agency.control.store import schema
from agency.errors import BadInputError, PrerequisiteError
from agency.store.database import Database, SqliteDatabase, open_database, parse_url
from agency.store.migration import Schema, alembic_config, migrate


def test_code_names_the_newest_revision() -> None:
    scripts = ScriptDirectory.from_config(alembic_config(schema.SCHEMA))
    walked = [script.revision for script in scripts.walk_revisions()]
    assert tuple(reversed(walked)) == schema.SCHEMA.revisions
    assert scripts.get_current_head() == schema.REVISION


async def test_revisions_make_the_tables_that_the_code_uses(database: Database) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, schema.metadata))

    assert await database.read(differences) == []


async def test_migrating_again_changes_nothing(database: Database) -> None:
    before = await database.read(lambda c: c.scalar(text("SELECT count(*) FROM audit")))
    assert await migrate(database, schema.SCHEMA) == schema.REVISION
    assert await database.read(lambda c: c.scalar(text("SELECT count(*) FROM audit"))) == before


async def test_newer_database_is_refused_and_left_alone(
    database: Database, database_file: Path
) -> None:
    await database.write(lambda c: c.execute(text("UPDATE alembic_version SET version_num = '9'")))
    with pytest.raises(PrerequisiteError, match="revision '9'") as caught:
        await migrate(database, schema.SCHEMA)
    assert "newer agency" in str(caught.value)
    with closing(sqlite3.connect(database_file)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("9",)


async def test_database_of_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    opened = open_database(str(file))
    with pytest.raises(PrerequisiteError, match="not the agency's"):
        await migrate(opened, schema.SCHEMA)
    await opened.close()


async def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.db"
    file.write_text("something else " * 1000)
    opened = open_database(str(file))
    with pytest.raises(PrerequisiteError, match="cannot use the database"):
        await migrate(opened, schema.SCHEMA)
    await opened.close()
    assert file.read_text().startswith("something else")


async def test_migration_that_fails_leaves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "control.db"
    opened = open_database(str(file))
    fill_up(opened, pages=12)
    with pytest.raises(PrerequisiteError, match="disk is full"):
        await migrate(opened, schema.SCHEMA)
    await opened.close()
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    again = open_database(str(file))
    assert await migrate(again, schema.SCHEMA) == schema.REVISION
    await again.close()


def fill_up(database: Database, pages: int) -> None:
    """Let SQLite believe that its disk holds no more than that."""
    assert isinstance(database, SqliteDatabase)

    @event.listens_for(database._engine, "connect")
    def _connected(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages}")


@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        ("journal_mode", "wal"),
        ("synchronous", 2),
        ("foreign_keys", 1),
        ("busy_timeout", 5000),
        ("recursive_triggers", 1),
    ],
)
async def test_sqlite_is_set_up_for_durability(
    database: Database, pragma: str, value: object
) -> None:
    assert await database.read(lambda c: c.scalar(text(f"PRAGMA {pragma}"))) == value


async def test_only_what_can_be_done_again_is_not_flushed(database: Database) -> None:
    def level(connection: Connection) -> object:
        return connection.scalar(text("PRAGMA synchronous"))

    normal, full = 1, 2
    assert await database.write(level) == full
    assert await database.write(level, flush=False) == normal
    assert await database.write(level) == full


async def test_error_does_not_quote_what_was_stored(database: Database) -> None:
    statement = text("INSERT INTO meta VALUES (:key, :value)")
    values = {"key": "instance", "value": "canary-5d1f"}
    with pytest.raises(DBAPIError) as caught:
        await database.write(lambda c: c.execute(statement, values))
    assert "canary-5d1f" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["mysql://host/name", "sqlite+aiosqlite://", "sqlite:///:memory:", "://", "x://y:z:1"]
)
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(BadInputError):
        parse_url(url)


def test_directory_must_exist(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="directory"):
        open_database(str(tmp_path / "none" / "control.db"))


async def test_database_of_the_first_schema_keeps_what_it_holds(tmp_path: Path) -> None:
    opened = open_database(str(tmp_path / "control.db"))
    first = Schema(schema.SCHEMA.scripts, ("0001",))
    assert await migrate(opened, first) == "0001"
    row = "(1, '$e', '!r:x', '@a:x', 1, 2, '{}', 'pending', 't-1')"
    await opened.write(lambda c: c.execute(text(f"INSERT INTO inbox VALUES {row}")))
    assert await migrate(opened, schema.SCHEMA) == schema.REVISION
    assert await opened.read(lambda c: c.scalar(text("SELECT event_id FROM inbox"))) == "$e"
    assert await opened.read(lambda c: c.scalar(text("SELECT count(*) FROM operations"))) == 0
    with pytest.raises(PrerequisiteError, match=f"revision '{schema.REVISION}'"):
        await migrate(opened, first)
    await opened.close()
