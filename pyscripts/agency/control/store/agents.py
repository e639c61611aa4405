"""Inventory of agents: the desired state of each, and the state last observed."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.engine import Connection

from agency.control.store import facts, schema
from agency.control.store.facts import Fact
from agency.control.wish import Desired, Wish
from agency.errors import AgencyError

__all__ = [
    "UNKNOWN",
    "AgentRecord",
    "Change",
    "Creation",
    "Deletion",
    "Desired",
    "Dismissal",
    "InventoryChange",
    "TakenError",
    "apply",
    "is_dismissed",
    "records",
    "set_wish",
    "synchronise",
    "wish_of",
]

_agents = schema.agents
_created = schema.created_agents
_histories = schema.agent_histories
_PRESENT = schema.PRESENT
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


@dataclass(frozen=True, slots=True)
class Creation:
    """An agent that a command made, and who said it; `variables` are those of its template."""

    name: str
    role: str
    template: str
    matrix_id: str
    port: int
    by: str
    variables: Mapping[str, str] = field(default_factory=dict)
    slot: str = ""  # the declared user and unit that it has, if it has one


@dataclass(frozen=True, slots=True)
class Deletion:
    """The end of an agent that a command made; what is kept of it is a record."""

    name: str


Change = InventoryChange | Creation | Deletion


@dataclass(frozen=True, slots=True)
class Dismissal:
    """The fact that an agent's account is out, as its wish of now asks; another wish ends it."""

    name: str

    def apply(self, connection: Connection, now_ts: int) -> None:  # noqa: ARG002 - of a `Stored`
        """Keep it, in the transaction of the command's result."""
        known = {each.name: each.changed_ts for each in records(connection)}
        if self.name in known:
            out = {name: ts for name, ts in _dismissed(connection).items() if name in known}
            out[self.name] = known[self.name]
            facts.keep(connection, Fact.DISMISSED, json.dumps(out))


def is_dismissed(connection: Connection, record: AgentRecord) -> bool:
    """Return whether an agent's account is out since its wish of now."""
    return _dismissed(connection).get(record.name) == record.changed_ts


def _dismissed(connection: Connection) -> dict[str, int]:
    return dict(json.loads(facts.read(connection, Fact.DISMISSED) or "{}"))


def synchronise(connection: Connection, configured: Collection[str], now_ts: int) -> None:
    """Add agents that are new in the configuration; those that left it become `stopped`.

    What a command made stays, unless the configuration has an agent of that name by now.
    """
    replaced = _PRESENT & _created.c.name.in_(configured)
    connection.execute(update(_created).where(replaced).values(deleted_ts=now_ts))
    names = {*configured, *(each.name for each in created(connection))}
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


def records_of(connection: Connection, names: Collection[str]) -> dict[str, AgentRecord]:
    """Return the records of these agents, by name."""
    rows = connection.execute(select(_agents).where(_agents.c.name.in_(names)))
    return {row.name: _record(row) for row in rows}


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


def created(connection: Connection) -> list[Creation]:
    """Return every agent that a command made and none deleted, oldest first."""
    rows = connection.execute(select(_created).where(_PRESENT).order_by(_created.c.sequence))
    return [
        Creation(
            row.name,
            row.role,
            row.template,
            row.matrix_id,
            row.port,
            row.created_by,
            json.loads(row.variables),
            row.slot,
        )
        for row in rows
    ]


def apply(connection: Connection, change: Change, now_ts: int) -> None:
    """Record a change to an agent."""
    if isinstance(change, Creation):
        _create(connection, change, now_ts)
    elif isinstance(change, Deletion):
        _delete(connection, change.name, now_ts)
    else:
        _update(connection, change, now_ts)


class TakenError(AgencyError):
    """A new agent whose slot, port or account another one has."""


def _create(connection: Connection, made: Creation, now_ts: int) -> None:
    """Add an agent. A row that is left of a configured one of that name gives way.

    Raises:
        TakenError: another agent that a command made has its slot, port or account.
    """
    same = (_created.c.port == made.port) | (_created.c.matrix_id == made.matrix_id)
    if made.slot:
        same |= _created.c.slot == made.slot
    other = connection.scalar(select(_created.c.name).where(_PRESENT & same).limit(1))
    if other is not None:
        raise TakenError(f"the agent {other} has the slot, the port or the account of {made.name}")
    connection.execute(delete(_agents).where(_agents.c.name == made.name))
    connection.execute(delete(_histories).where(_histories.c.name == made.name))
    values = {"name": made.name, "desired": Desired.STOPPED, "changed_ts": now_ts}
    connection.execute(insert(_agents), values)
    row = {
        "name": made.name,
        "role": made.role,
        "template": made.template,
        "variables": json.dumps(dict(made.variables)),
        "matrix_id": made.matrix_id,
        "port": made.port,
        "slot": made.slot,
        "created_by": made.by,
        "created_ts": now_ts,
    }
    connection.execute(insert(_created), row)


def _delete(connection: Connection, name: str, now_ts: int) -> None:
    """Remove an agent that a command made; its row among these stays, with the time."""
    gone = _PRESENT & (_created.c.name == name)
    if connection.execute(update(_created).where(gone).values(deleted_ts=now_ts)).rowcount:
        connection.execute(delete(_agents).where(_agents.c.name == name))
        connection.execute(delete(_histories).where(_histories.c.name == name))


def _update(connection: Connection, change: InventoryChange, now_ts: int) -> None:
    values: dict[str, object] = {
        "observed": change.observed,
        "handle": change.handle,
        "observed_ts": now_ts,
    }
    if change.desired is not None:
        values |= {"desired": change.desired, "project": change.project, "changed_ts": now_ts}
    connection.execute(update(_agents).where(_agents.c.name == change.name).values(**values))
