"""Inventory of agents: the desired state of each, and the state last observed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.engine import Connection

from agency.control.store import schema
from agency.control.wish import Desired, Wish

__all__ = [
    "UNKNOWN",
    "AgentRecord",
    "Desired",
    "InventoryChange",
    "apply",
    "records",
    "set_wish",
    "synchronise",
    "wish_of",
]

_agents = schema.agents
UNKNOWN = "unknown"  # observed: commanded, and not observed yet


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """One agent in the inventory; times are milliseconds since the epoch.

    `observed` is None if the agent was never commanded.
    """

    name: str
    desired: Desired
    project: str | None
    observed: str | None
    handle: str | None
    changed_ts: int
    observed_ts: int | None

    @property
    def wish(self) -> Wish:
        """The state that the agent shall have."""
        return Wish(self.desired, self.project)


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
    return [_record(row) for row in connection.execute(select(_agents).order_by(_agents.c.name))]


def commanded(connection: Connection) -> dict[str, AgentRecord]:
    """Return every agent that was ever commanded, by name."""
    wanted = select(_agents).where(_agents.c.observed.is_not(None)).order_by(_agents.c.name)
    return {row.name: _record(row) for row in connection.execute(wanted)}


def record_of(connection: Connection, name: str) -> AgentRecord | None:
    """Return one agent's record; None if it was never known."""
    row = connection.execute(select(_agents).where(_agents.c.name == name)).one_or_none()
    return None if row is None else _record(row)


def _record(row: Row[tuple[object, ...]]) -> AgentRecord:
    return AgentRecord(
        row.name,
        Desired(row.desired),
        row.project,
        row.observed,
        row.handle,
        row.changed_ts,
        row.observed_ts,
    )


def wish_of(connection: Connection, name: str) -> Wish | None:
    """Return the state that an agent shall have; None if it was never known."""
    statement = select(_agents.c.desired, _agents.c.project).where(_agents.c.name == name)
    row = connection.execute(statement).one_or_none()
    return None if row is None else Wish(Desired(row.desired), row.project)


def set_wish(connection: Connection, name: str, wish: Wish, now_ts: int) -> None:
    """Record the state that an agent shall have; from now on it is known to be commanded."""
    values = {
        "desired": wish.desired,
        "project": wish.project,
        "changed_ts": now_ts,
        "observed": func.coalesce(_agents.c.observed, UNKNOWN),
    }
    connection.execute(update(_agents).where(_agents.c.name == name).values(**values))


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
