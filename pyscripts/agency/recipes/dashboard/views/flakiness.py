"""Flakiness of a recipe: how often runs of one commit disagree. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from agency.recipes.record.history import Judged
from agency.recipes.record.run import RunState

LAST = 50  # verdicts of a recipe that are looked at
STRIP = 10  # verdicts of a recipe that are shown one by one


@dataclass(frozen=True, slots=True)
class Flakiness:
    """Disagreement among the last verdicts of a recipe.

    `repeats` are runs of a commit and stages that had a verdict before; `disagreeing` are the
    repeats whose verdict was not that of the run before. `changes` are verdicts that differ from
    the recipe's verdict before, whatever the commit. Errors of the place are no verdict.
    """

    judged: int = 0
    repeats: int = 0
    disagreeing: int = 0
    changes: int = 0

    @property
    def share(self) -> float | None:
        """Share of the repeats that disagree; None if nothing was repeated."""
        return self.disagreeing / self.repeats if self.repeats else None


def flakiness(newest_first: Sequence[Judged]) -> Flakiness:
    """Measure the flakiness of runs in the order of the record."""
    judged = repeats = disagreeing = changes = 0
    before: dict[tuple[str, str], bool] = {}
    last: bool | None = None
    for run in reversed(newest_first):
        if run.state is RunState.ERROR:
            continue
        passed, of = run.state is RunState.PASSED, (run.commit, run.stages)
        judged += 1
        changes += last is not None and last != passed
        if of in before:
            repeats += 1
            disagreeing += before[of] != passed
        before[of] = last = passed
    return Flakiness(judged, repeats, disagreeing, changes)


@dataclass(frozen=True, slots=True)
class Tally:
    """Verdicts of a recipe: how flaky it is, and the last of them, the oldest first."""

    flakiness: Flakiness = field(default_factory=Flakiness)
    strip: tuple[RunState, ...] = ()


def tally(newest_first: Sequence[Judged]) -> Tally:
    """Tally the verdicts of a recipe."""
    strip = tuple(one.state for one in reversed(newest_first[:STRIP]))
    return Tally(flakiness(newest_first), strip)
