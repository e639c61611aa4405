"""A database of an earlier revision is taken over with all that it holds."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from sqlalchemy import text
from sqlalchemy.engine import Connection

from agency.control.store import agents, schema
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
