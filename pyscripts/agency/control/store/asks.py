"""Approvals that agents ask for: rows that are added, moved from state to state, and found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace

from sqlalchemy import ColumnElement, Row, delete, func, insert, select, update
from sqlalchemy.engine import Connection

from agency.control.ask import OPEN, Ask, State, check_move
from agency.control.store import schema

_asks = schema.asks
_OPEN = _asks.c.state.in_(sorted(OPEN))


def add(connection: Connection, ask: Ask) -> bool:
    """Add an ask; return False if it is there already."""
    if find(connection, ask.id) is not None:
        return False
    connection.execute(insert(_asks), asdict(ask))
    return True


def find(connection: Connection, ask_id: str) -> Ask | None:
    """Return an ask by its id; None if there is none."""
    row = connection.execute(select(_asks).where(_asks.c.id == ask_id)).one_or_none()
    return None if row is None else _ask(row)


def known(connection: Connection, ids: Iterable[str]) -> dict[str, Ask]:
    """Return those of these asks that there are, by id."""
    return {each.id: each for each in _found(connection, _asks.c.id.in_([*ids]))}


def waiting(connection: Connection) -> list[Ask]:
    """Return the asks that have not ended, oldest first."""
    return _found(connection, _OPEN)


def waiting_of(connection: Connection, agent: str) -> list[Ask]:
    """Return the asks of an agent that have not ended, oldest first."""
    return _found(connection, _OPEN & (_asks.c.agent == agent))


def count_open(connection: Connection) -> int:
    """Count the asks that have not ended."""
    return int(connection.scalar(select(func.count()).where(_OPEN)) or 0)


def count_since(connection: Connection, agent: str, since_ts: int) -> int:
    """Count the prompts of an agent's asks that were asked since then."""
    wanted = (_asks.c.agent == agent) & (_asks.c.asked_ts > since_ts)
    return int(connection.scalar(select(func.sum(_asks.c.prompts)).where(wanted)) or 0)


def move(connection: Connection, before: Ask, after: Ask) -> bool:
    """Store an ask in another state; False if it is not as `before` any more.

    Raises:
        InternalError: the state may not follow.
    """
    check_move(before.state, after.state)
    return _change(connection, before, after)


def tried(connection: Connection, ask: Ask) -> Ask | None:
    """Note that its decision is sent now; None if it is not as it was."""
    after = replace(ask, tries=ask.tries + 1)
    return after if _change(connection, ask, after) else None


def prune(connection: Connection, before_ts: int) -> int:
    """Forget asks that ended, and whose time passed before then."""
    old = _asks.c.state.not_in(sorted(OPEN)) & (_asks.c.expires_ts < before_ts)
    return connection.execute(delete(_asks).where(old)).rowcount


def _change(connection: Connection, before: Ask, after: Ask) -> bool:
    same = (
        (_asks.c.id == before.id)
        & (_asks.c.state == before.state)
        & (_asks.c.decided_ts == before.decided_ts)
        & (_asks.c.tries == before.tries)
        & (_asks.c.prompts == before.prompts)
    )
    return connection.execute(update(_asks).where(same), asdict(after)).rowcount == 1


def _found(connection: Connection, wanted: ColumnElement[bool]) -> list[Ask]:
    rows = connection.execute(select(_asks).where(wanted).order_by(_asks.c.asked_ts, _asks.c.id))
    return [_ask(row) for row in rows]


def _ask(row: Row[tuple[object, ...]]) -> Ask:
    values = {name: getattr(row, name) for name in Ask.__dataclass_fields__}
    return Ask(**{**values, "state": State(row.state)})
