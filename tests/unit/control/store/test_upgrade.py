"""A database of an earlier revision is taken over with all that it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from desk import ALICE, ROOM, Desk
from sqlalchemy import text
from sqlalchemy.engine import Connection

from agency.control.events import parse_event
from agency.control.store import agents, audit, schema
from agency.control.store.agents import AgentRecord, Desired
from agency.store import Database, migrate, open_database
from agency.store.migration import alembic_config


def upgrade_to(revision: str, connection: Connection) -> None:
    config = alembic_config(schema.SCHEMA)
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


async def test_agents_keep_their_pids_as_handles(tmp_path: Path) -> None:
    opened = open_database(f"sqlite+aiosqlite:///{tmp_path / 'control.db'}")

    def first(connection: Connection) -> None:
        upgrade_to("0001", connection)
        connection.execute(
            text(
                "INSERT INTO agents "
                "(name, desired, project, observed, pid, changed_ts, observed_ts) VALUES "
                "('pm', 'running', 'new-app', 'running', 4242, 1, 2), "
                "('dev', 'stopped', NULL, NULL, NULL, 3, NULL)"
            )
        )

    try:
        await opened.write(first)
        assert await migrate(opened, schema.SCHEMA) == schema.REVISION
        assert await opened.read(agents.records) == [
            AgentRecord("dev", Desired.STOPPED, None, None, None, 3, None),
            AgentRecord("pm", Desired.RUNNING, "new-app", "running", "4242", 1, 2),
        ]
    finally:
        await opened.close()


async def test_events_in_every_state_are_settled_once(tmp_path: Path, held: Any) -> None:
    """One that waited runs, one that ran is answered, one that was done stays so."""
    opened = open_database(f"sqlite+aiosqlite:///{tmp_path / 'control.db'}")
    desk = Desk(opened, held.clock(), held)
    now = desk.clock.now_ms()

    def first(connection: Connection) -> None:
        upgrade_to("0001", connection)
        for number, (state, said) in enumerate(
            [("done", None), ("running", "!stop-agent pm"), ("pending", "!start-agent pm")], 1
        ):
            event = parse_event(desk.event(said or "", event_id=f"$old{number}"))
            assert event is not None
            row = {"id": event.event_id, "room": ROOM, "by": ALICE, "now": now, "state": state}
            row["content"] = event.content_json() if said else "{}"
            connection.execute(
                text(
                    "INSERT INTO inbox (event_id, room_id, sender, origin_ts, received_ts, "
                    "content, state, trace) "
                    "VALUES (:id, :room, :by, :now, :now, :content, :state, 't-old')"
                ),
                row,
            )

    try:
        await opened.write(first)
        await migrate(opened, schema.SCHEMA)
        await opened.write(lambda c: audit.open_log(c, "test", desk.clock))
        await desk.settle()
        await desk.settle()
        assert desk.calls == [f"agents start by {ALICE}"]
        replies = [(r["org.agency.reply"]["command"], r["body"][:17]) for r in await desk.said()]
        assert replies == [("$old2", "The control plane"), ("$old3", "did agents start")]
        assert await desk.unfinished() == 0
    finally:
        await opened.close()


async def test_agents_that_share_a_place_are_parted(database: Database) -> None:
    """The later one keeps its name, and neither its slot, port nor account; then none is shared."""

    def before(connection: Connection) -> None:
        for column in ("slot", "port", "matrix_id"):
            connection.execute(text(f"DROP INDEX created_agents_{column}"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0011'"))
        for name, slot, port, account, deleted in (
            ("gone", "slot-1", 20077, "@lent:x.org", 5),
            ("one", "slot-1", 20077, "@lent:x.org", None),
            ("two", "slot-1", 20077, "@lent:x.org", None),
            ("far", "", 31999, "@agent-far:x.org", None),
            ("three", "", 20077, "@agent-three:x.org", None),
        ):
            row = {"name": name, "slot": slot, "port": port, "account": account, "gone": deleted}
            connection.execute(
                text(
                    "INSERT INTO created_agents (name, role, template, variables, matrix_id, port, "
                    "slot, created_by, created_ts, deleted_ts) VALUES (:name, 'x', 'x', '{}', "
                    ":account, :port, :slot, 'a', 1, :gone)"
                ),
                row,
            )

    await database.write(before)
    assert await migrate(database, schema.SCHEMA) == schema.REVISION
    found = await database.read(agents.created)
    assert [(each.name, each.slot, each.port, each.matrix_id) for each in found] == [
        ("one", "slot-1", 20077, "@lent:x.org"),
        ("two", "", 31998, "@agent-two:x.org"),
        ("far", "", 31999, "@agent-far:x.org"),
        ("three", "", 31997, "@agent-three:x.org"),
    ]
