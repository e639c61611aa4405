"""Rows and views of pages and documents, made from the record, results and files. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agency.recipes.configuration import RecipesConfig
from agency.recipes.dashboard.files import IMAGES, SCREENSHOTS, Found
from agency.recipes.dashboard.logs.pieces import Piece
from agency.recipes.dashboard.views.flakiness import Tally
from agency.recipes.dashboard.views.result import Result, Stage
from agency.recipes.record.history import Listed
from agency.recipes.record.run import Run, RunState

SORTS = ("name", "state", "newest", "longest", "flakiest")
_DAY_MS = 86_400_000
_WORST = (
    RunState.FAILED,
    RunState.TIMED_OUT,
    RunState.ERROR,
    RunState.RUNNING,
    RunState.QUEUED,
    RunState.CANCELLED,
    RunState.REPLACED,
    RunState.PASSED,
)


@dataclass(frozen=True, slots=True)
class Row:
    """A recipe in the overview."""

    recipe: str
    repository: str
    latest: Listed | None
    tally: Tally

    @property
    def state(self) -> RunState | None:
        """State of its latest run."""
        return None if self.latest is None else self.latest.run.state


@dataclass(frozen=True, slots=True)
class Wanted:
    """Choice of recipes: part of a name, a state, an order."""

    text: str = ""
    state: str = ""
    sort: str = "name"


def rows(
    config: RecipesConfig, latest: Sequence[Listed], tallies: Mapping[str, Tally]
) -> tuple[Row, ...]:
    """Make a row of every recipe that is enrolled, by name."""
    newest = {one.run.order.recipe: one for one in latest}
    return tuple(
        Row(
            recipe=name,
            repository=config.recipes[name].repository,
            latest=newest.get(name),
            tally=tallies.get(name, Tally()),
        )
        for name in sorted(config.recipes)
    )


def dropped(config: RecipesConfig, latest: Sequence[Listed]) -> tuple[str, ...]:
    """Name the recipes that have runs and are not enrolled any more."""
    return tuple(
        one.run.order.recipe for one in latest if one.run.order.recipe not in config.recipes
    )


def chosen(found: Sequence[Row], wanted: Wanted) -> tuple[Row, ...]:
    """Choose and order the rows; what is asked for and not known chooses nothing."""
    text = wanted.text.strip().lower()
    kept = [
        row
        for row in found
        if text in row.recipe.lower()
        and wanted.state in ("", "none" if row.state is None else row.state.value)
    ]
    match wanted.sort:
        case "state":
            kept.sort(key=lambda row: len(_WORST) if row.state is None else _WORST.index(row.state))
        case "newest":
            kept.sort(key=lambda row: row.latest.run.sequence if row.latest else 0, reverse=True)
        case "longest":
            kept.sort(
                key=lambda row: (row.latest.run.seconds if row.latest else 0) or 0, reverse=True
            )
        case "flakiest":
            kept.sort(
                key=lambda row: (row.tally.flakiness.share or 0, row.tally.flakiness.changes),
                reverse=True,
            )
    return tuple(kept)


def states(found: Sequence[Row]) -> dict[str, int]:
    """Count the recipes by the state of their latest run."""
    counted = Counter("none" if row.state is None else row.state.value for row in found)
    known = [*(state.value for state in RunState), "none"]
    return {state: counted[state] for state in known if counted[state]}


@dataclass(frozen=True, slots=True)
class LogView:
    """A log on a run's page: its last lines, and whether it is the one that grows."""

    name: str
    size: int
    piece: Piece
    live: bool
    unfolded: bool


@dataclass(frozen=True, slots=True)
class RunView:
    """All that a run's page shows. `expired` is true when logs and files are too old for it."""

    run: Run
    result: Result
    before: int | None
    expired: bool
    logs: tuple[LogView, ...]
    files: tuple[Found, ...]

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Stages of the result; before there is one, those that were ordered."""
        if self.result.stages:
            return self.result.stages
        return tuple(Stage(name, "unknown", None, "") for name in self.run.order.stages)

    @property
    def screenshots(self) -> tuple[Found, ...]:
        """Images below the run's directory of screenshots, first those that the result names."""
        shown = {
            one.path: one
            for one in self.files
            if one.path.startswith(f"{SCREENSHOTS}/") and one.kind in IMAGES
        }
        named = [f"{SCREENSHOTS}/{name}" for name in self.result.screenshots]
        return tuple(shown[path] for path in dict.fromkeys([*named, *shown]) if path in shown)

    @property
    def missing_screenshots(self) -> tuple[str, ...]:
        """Names of the result that are no image of this run."""
        shown = {one.path for one in self.screenshots}
        return tuple(n for n in self.result.screenshots if f"{SCREENSHOTS}/{n}" not in shown)

    @property
    def other_files(self) -> tuple[Found, ...]:
        """Files that are no screenshots."""
        shown = set(self.screenshots)
        return tuple(one for one in self.files if one not in shown)


def is_expired(run: Run, now_ts: int, days: int) -> bool:
    """Return whether a run ended so long ago that its logs and files are not shown."""
    return run.ended_ts is not None and now_ts - run.ended_ts > days * _DAY_MS


def unfolded(run: Run, result: Result, logs: Sequence[str]) -> str:
    """Choose the log to be seen first: the one that grows, else that of what went wrong."""
    if not logs:
        return ""
    if not run.state.ended:
        growing = [name for name in logs if name != "progress"]
        return growing[-1] if growing else logs[-1]
    bad = [one.name for one in result.stages if one.outcome in ("fail", "error")]
    if not bad and result.clean is False:
        bad = ["teardown"]
    return next((name for name in bad if name in logs), "")
