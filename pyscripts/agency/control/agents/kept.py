"""Histories of agents in the store, so a restart forgets no attempt and tells nothing twice."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import delete, insert, select
from sqlalchemy.engine import Connection

from agency.control.agents.history import Difference, Episode, History
from agency.control.store import schema

_histories = schema.agent_histories


def read(connection: Connection) -> dict[str, History]:
    """Return the history of each agent that has one."""
    return {
        row.name: History(
            wished_ts=row.wished_ts,
            tries=row.tries,
            episode=(
                Episode(Difference(row.what), row.reason, row.trace, bool(row.told))
                if row.what
                else None
            ),
            given_up=bool(row.given_up),
        )
        for row in connection.execute(select(_histories))
    }


def keep(connection: Connection, histories: Mapping[str, History]) -> None:
    """Keep these in the place of any earlier ones; an empty one is forgotten."""
    if not histories:
        return
    for name in histories:
        connection.execute(delete(_histories).where(_histories.c.name == name))
    rows = [_row(name, each) for name, each in histories.items() if not each.is_empty]
    if rows:
        connection.execute(insert(_histories), rows)


def _row(name: str, history: History) -> dict[str, object]:
    episode = history.episode
    return {
        "name": name,
        "wished_ts": history.wished_ts,
        "tries": history.tries,
        "what": "" if episode is None else episode.what.value,
        "reason": "" if episode is None else episode.reason,
        "trace": "" if episode is None else episode.trace,
        "told": int(episode is not None and episode.told),
        "given_up": int(history.given_up),
    }
