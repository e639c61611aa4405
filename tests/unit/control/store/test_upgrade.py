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
from agency.store import migrate, open_database
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
