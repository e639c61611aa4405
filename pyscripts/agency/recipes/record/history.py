"""Lists of runs for people: many rows at once, and never the text of a run's result."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import LargeBinary, Select, case, cast, func, null, select
from sqlalchemy.engine import Connection

from agency.recipes.record.queue import read
from agency.recipes.record.run import Run, RunState
from agency.recipes.record.tables import runs

VERDICTS = (RunState.PASSED, RunState.FAILED, RunState.TIMED_OUT, RunState.ERROR)
_MAX_VERSION = 80
_COLUMNS = [column for column in runs.c if column.name != "result"]
# The text may be anything. A function that reads JSON is asked only where it is JSON; and the
# escapes of JSON can name what is no character, which a column of text could not be read for.
_READ = cast(
    func.substr(func.json_extract(runs.c.result, "$.version"), 1, _MAX_VERSION), LargeBinary
)
_VERSION = case((func.json_valid(runs.c.result) == 1, _READ), else_=null()).label("version")


@dataclass(frozen=True, slots=True)
class Listed:
    """A run in a list: without its result, but with the version that the result names."""

    run: Run
    version: str = ""


class Judged(NamedTuple):
    """A run that came to an end of its own, as a statistic sees it."""

    commit: str
    stages: str
    state: RunState


def _listed() -> Select[Any]:
    return select(*_COLUMNS, null().label("result"), _VERSION)


def _read(rows: Iterable[Any]) -> tuple[Listed, ...]:
    return tuple(Listed(read(row), _version(row.version)) for row in rows)


def _version(found: bytes | None) -> str:
    return (found or b"").decode(errors="replace")


def latest(connection: Connection) -> tuple[Listed, ...]:
    """Read the newest run of each recipe, by recipe."""
    newest = select(func.max(runs.c.sequence)).group_by(runs.c.recipe)
    wanted = _listed().where(runs.c.sequence.in_(newest)).order_by(runs.c.recipe)
    return _read(connection.execute(wanted))


def of_recipe(
    connection: Connection, recipe: str, limit: int, before: int | None
) -> tuple[Listed, ...]:
    """Read a recipe's runs, newest first; those before the sequence number `before`."""
    wanted = _listed().where(runs.c.recipe == recipe)
    if before is not None:
        wanted = wanted.where(runs.c.sequence < before)
    return _read(connection.execute(wanted.order_by(runs.c.sequence.desc()).limit(limit)))


def unended(connection: Connection, limit: int) -> tuple[Listed, ...]:
    """Read the runs that run, then those that are queued, each oldest first."""
    wanted = _listed().where(runs.c.state.in_((RunState.RUNNING, RunState.QUEUED)))
    # "running" comes after "queued".
    wanted = wanted.order_by(runs.c.state.desc(), runs.c.sequence).limit(limit)
    return _read(connection.execute(wanted))


def verdicts(connection: Connection, recipe: str | None, limit: int) -> tuple[Listed, ...]:
    """Read the runs that have a verdict, of one recipe or of all, the newest order first."""
    wanted = _listed().where(runs.c.state.in_(VERDICTS))
    if recipe is not None:
        wanted = wanted.where(runs.c.recipe == recipe)
    return _read(connection.execute(wanted.order_by(runs.c.sequence.desc()).limit(limit)))


@dataclass(frozen=True, slots=True)
class Mark:
    """State of the record at a moment: its verdicts, its newest run, and what has not ended.

    `verdicts` grows with every run that comes to a verdict; `unended` names recipes.
    """

    verdicts: int
    newest: int
    unended: frozenset[str]


def mark(connection: Connection) -> Mark:
    """Read the state of the record."""
    ended = select(func.count()).select_from(runs).where(runs.c.state.in_(VERDICTS))
    open_ = select(runs.c.recipe).where(runs.c.state.in_((RunState.QUEUED, RunState.RUNNING)))
    return Mark(
        connection.execute(ended).scalar_one(),
        connection.execute(select(func.max(runs.c.sequence))).scalar() or 0,
        frozenset(connection.execute(open_.distinct()).scalars()),
    )


def newer(connection: Connection, than: int) -> frozenset[str]:
    """Name the recipes of the runs after a sequence number."""
    wanted = select(runs.c.recipe).where(runs.c.sequence > than).distinct()
    return frozenset(connection.execute(wanted).scalars())


def judged(
    connection: Connection, last: int, recipes: frozenset[str] | None = None
) -> dict[str, list[Judged]]:
    """Read the last runs with a verdict of recipes, newest first; None: of all."""
    number = func.row_number().over(partition_by=runs.c.recipe, order_by=runs.c.sequence.desc())
    inner = select(
        runs.c.recipe, runs.c.commit_sha, runs.c.stages, runs.c.state, number.label("number")
    ).where(runs.c.state.in_(VERDICTS))
    if recipes is not None:
        inner = inner.where(runs.c.recipe.in_(sorted(recipes)))
    rows = inner.subquery()
    wanted = select(rows).where(rows.c.number <= last).order_by(rows.c.recipe, rows.c.number)
    found: dict[str, list[Judged]] = {}
    states = {str(state): state for state in RunState}
    for name, commit, stages, state, _ in connection.execute(wanted):
        found.setdefault(name, []).append(Judged(commit, stages, states[state]))
    return found
