"""Inventory of agents: the desired state of each, and the state last observed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import insert, select, update
from sqlalchemy.engine import Connection

from agency.control.store import schema

_agents = schema.agents


class Desired(StrEnum):
    """The state that the last command asked for."""

    RUNNING = "running"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """One agent in the inventory; times are milliseconds since the epoch."""

    name: str
    desired: Desired
    project: str | None
    observed: str | None
    handle: str | None
    changed_ts: int
    observed_ts: int | None


@dataclass(frozen=True, slots=True)
class InventoryChange:
    """Change that a command makes to an agent. `desired` None keeps the desired state."""

    name: str
    desired: Desired | None
    project: str | None
    observed: str
    handle: str | None


def synchronise(connection: Connection, names: Collection[str], now_ts: int) -> None:
    """Add agents that are new in the configuration; those that left it become `stopped`."""
    known = {record.name: record for record in records(connection)}
    fresh = [name for name in names if name not in known]
    if fresh:
        connection.execute(
            insert(_agents),
            [{"name": name, "desired": Desired.STOPPED, "changed_ts": now_ts} for name in fresh],
        )
    for record in known.values():
        if record.name not in names and record.desired is Desired.RUNNING:
            connection.execute(
                update(_agents)
                .where(_agents.c.name == record.name)
                .values(desired=Desired.STOPPED, changed_ts=now_ts)
            )


def records(connection: Connection) -> list[AgentRecord]:
    """Return every agent ever known, by name."""
    return [
        AgentRecord(
            row.name,
            Desired(row.desired),
            row.project,
            row.observed,
            row.handle,
            row.changed_ts,
            row.observed_ts,
        )
        for row in connection.execute(select(_agents).order_by(_agents.c.name))
    ]


def is_stopped(connection: Connection, name: str) -> bool:
    """Return whether the last command about an agent asked for it to be stopped."""
    return connection.scalar(select(_agents.c.desired).where(_agents.c.name == name)) == (
        Desired.STOPPED
    )


def apply(connection: Connection, change: InventoryChange, now_ts: int) -> None:
    """Record a change to an agent."""
    values: dict[str, object] = {
        "observed": change.observed,
        "handle": change.handle,
        "observed_ts": now_ts,
    }
    if change.desired is not None:
        values |= {"desired": change.desired, "project": change.project, "changed_ts": now_ts}
    connection.execute(update(_agents).where(_agents.c.name == change.name).values(**values))
