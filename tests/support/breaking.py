"""A table that takes no row, as when the disk is full, in SQLite and in PostgreSQL."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.engine import Connection

_SQLITE = "CREATE TRIGGER broken BEFORE INSERT ON {} BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
_POSTGRESQL = (
    """CREATE OR REPLACE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'disk is full'; END $$""",
    "CREATE TRIGGER broken BEFORE INSERT ON {} FOR EACH ROW EXECUTE FUNCTION broken()",
)


def break_table(connection: Connection, table: str) -> None:
    """Refuse every new row of a table."""
    statements = (_SQLITE,) if connection.dialect.name == "sqlite" else _POSTGRESQL
    for statement in statements:
        connection.execute(text(statement.format(table)))


def mend_table(connection: Connection, table: str) -> None:
    """Take rows again."""
    on = "" if connection.dialect.name == "sqlite" else f" ON {table}"
    connection.execute(text(f"DROP TRIGGER broken{on}"))
