"""Databases of a real PostgreSQL, and the control plane's store in one of them."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from backing import HOST, Machine, appended, in_store
from serving_postgresql import INITDB, POSTGRES, serving, sql

from agency.backup import create_backup, restore_in_place
from agency.backup.sources.postgresql import Databases
from agency.backup.verify import verify_backup
from agency.control import SCHEMA, verify_database
from agency.errors import BadInputError, PrerequisiteError

pytest.importorskip("asyncpg", reason="PostgreSQL is optional: install agency[postgresql]")
pytestmark = pytest.mark.skipif(
    INITDB is None or POSTGRES is None, reason="PostgreSQL's server is not installed"
)
ODD = "tab\t newline\n backslash\\ quote' \\N"


@pytest.fixture(scope="module")
def socket() -> Iterator[Path]:
    with serving() as place:
        yield place


@pytest.fixture
def served(machine: Machine, socket: Path) -> Iterator[Machine]:
    """A homeserver's database with another collation and owner, and the control plane's."""
    sql(
        socket, "postgres", 'CREATE ROLE "matrix-synapse" LOGIN; CREATE ROLE "agency-control" LOGIN'
    )
    for name in ("matrix-synapse", "agency-control"):
        sql(
            socket,
            "postgres",
            f'CREATE DATABASE "{name}" OWNER "{name}" TEMPLATE template0 '
            "ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'",
        )
    sql(
        socket,
        "matrix-synapse",
        'SET ROLE "matrix-synapse"; CREATE TABLE events (id int PRIMARY KEY, body text); '
        'CREATE TABLE "Odd Name" (x int); CREATE TABLE empty (x int); '
        f"INSERT INTO events VALUES (1, {literal(ODD)}), (2, NULL); "
        'INSERT INTO "Odd Name" SELECT generate_series(1, 150)',
    )
    url = f"postgresql+asyncpg://agency-control@/agency-control?host={socket}"
    in_store(url, lambda c: appended(c, machine.instance, machine.clock, 5))
    machine.write_config(
        stores=[],
        server={
            "socket": str(socket),
            "databases": ["matrix-synapse", "agency-control"],
            "audited": "agency-control",
        },
    )
    yield machine
    for name in ("matrix-synapse", "agency-control"):
        sql(socket, "postgres", f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        sql(socket, "postgres", f'DROP ROLE IF EXISTS "{name}"')


def literal(text: str) -> str:
    return "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def restore(machine: Machine) -> object:
    return asyncio.run(restore_in_place(machine.settings, machine.clock, replace=HOST))


def bodies(socket: Path) -> str:
    return sql(socket, "matrix-synapse", "SELECT id, body FROM events ORDER BY id")


def beside(socket: Path) -> str:
    """Databases that a restore left."""
    return sql(socket, "postgres", "SELECT datname FROM pg_database WHERE datname ~ '__'")


def test_databases_are_back_with_owner_and_collation(served: Machine, socket: Path) -> None:
    before = bodies(socket)
    created = create_backup(served.settings, served.clock)
    assert created.manifest.audit is not None
    assert (created.manifest.audit.count, created.manifest.revision) == (6, SCHEMA.newest)
    assert verify_backup(served.settings, served.clock, read_percent=100).findings == ()
    for name in ("matrix-synapse", "agency-control"):
        sql(socket, "postgres", f'DROP DATABASE "{name}"')
        sql(socket, "postgres", f'DROP ROLE "{name}"')

    done = restore(served)

    assert bodies(socket) == before
    facts = sql(
        socket,
        "postgres",
        "SELECT datname, pg_get_userbyid(datdba), datcollate FROM pg_database "
        "WHERE datname ~ '^(matrix|agency)' ORDER BY 1",
    )
    assert facts.splitlines() == [
        "agency-control|agency-control|C",
        "matrix-synapse|matrix-synapse|C",
    ]
    counted = {part.name: part.after for part in done.parts}  # type: ignore[attr-defined]
    assert counted["matrix-synapse"] == {
        'public."Odd Name"': 150,
        "public.empty": 0,
        "public.events": 2,
    }
    assert done.audit_after == created.manifest.audit  # type: ignore[attr-defined]
    # The owner goes on where the log stopped.
    url = f"postgresql+asyncpg://agency-control@/agency-control?host={socket}"
    in_store(url, lambda c: appended(c, served.instance, served.clock, 1))
    report = verify_database(url, instance=served.instance)
    assert (report.ok, report.count) == (True, 7)


@pytest.mark.thorough
def test_restored_over_what_is_there(served: Machine, socket: Path) -> None:
    """Also after a restore that was ended: what it left beside is removed."""
    before = bodies(socket)
    create_backup(served.settings, served.clock)
    sql(socket, "matrix-synapse", "DELETE FROM events")
    sql(socket, "postgres", 'CREATE DATABASE "matrix-synapse__restoring"')
    restore(served)
    assert bodies(socket) == before
    assert beside(socket) == ""


@pytest.mark.thorough
def test_a_database_in_use_is_not_replaced(served: Machine, socket: Path) -> None:
    create_backup(served.settings, served.clock)
    sql(socket, "matrix-synapse", "DELETE FROM events WHERE id = 1")
    argv = ["psql", "-h", str(socket), "-U", "postgres", "-d", "matrix-synapse", "-Xc"]
    session = subprocess.Popen([*argv, "SELECT pg_sleep(60)"])
    try:
        databases = Databases(served.settings.server, 60)  # type: ignore[arg-type]
        while not databases.is_used("matrix-synapse"):
            assert session.poll() is None
        with pytest.raises(PrerequisiteError, match="1 sessions use the database"):
            restore(served)
    finally:
        session.kill()
        session.wait()
    assert bodies(socket).startswith("2")


def test_a_dump_that_fails_leaves_the_database(served: Machine, socket: Path) -> None:
    """The old database goes only when the new one is whole."""
    databases = Databases(served.settings.server, 60)  # type: ignore[arg-type]
    facts = databases.facts("matrix-synapse")
    assert facts is not None
    dump = served.place / "broken.dump"
    dump.write_bytes(b"PGDMP and no more")
    with pytest.raises(BadInputError, match="cannot be restored"):
        databases.restore("matrix-synapse", facts, dump)
    assert bodies(socket).startswith("1")
    assert beside(socket) == ""


def test_an_edited_log_in_a_database_is_found(served: Machine, socket: Path) -> None:
    create_backup(served.settings, served.clock)
    triggers = sql(
        socket, "agency-control", "SELECT tgname FROM pg_trigger WHERE tgrelid = 'audit'::regclass"
    )
    for name in triggers.splitlines():
        sql(socket, "agency-control", f'DROP TRIGGER "{name}" ON audit')
    sql(socket, "agency-control", "UPDATE audit SET actor = 'mallory' WHERE sequence = 3")
    with pytest.raises(BadInputError, match="bad at row 3"):
        create_backup(served.settings, served.clock)


def test_a_server_that_is_away_is_told(served: Machine, tmp_path: Path) -> None:
    served.write_config(server={"socket": str(tmp_path), "databases": ["matrix-synapse"]})
    with pytest.raises(PrerequisiteError, match="psql failed"):
        create_backup(served.settings, served.clock)
