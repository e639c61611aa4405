"""The one reader behind all pages: the record, the runs' directories, and what is too old."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from agency.clock import Clock
from agency.recipes.configuration import RecipesConfig
from agency.recipes.dashboard.files import MOST_RESULT, RESULT, NoFileError, RunFiles
from agency.recipes.dashboard.logs.pieces import tail
from agency.recipes.dashboard.verdicts import Verdicts
from agency.recipes.dashboard.views import models
from agency.recipes.dashboard.views.models import LogView, Row, RunView
from agency.recipes.dashboard.views.result import Result, read_result
from agency.recipes.record import history
from agency.recipes.record.history import Listed
from agency.recipes.record.run import Run
from agency.recipes.record.runs import Runs

ARTIFACTS = "artifacts"  # in the state directory: one directory a run
MOST_QUEUE = 50
PAGE = 50
_TAIL = 32 * 1024
_ENDED_FOR_S = 1.0
_MOST_KNOWN = 1000


@dataclass(slots=True)
class Reading:
    """Reader of recipe CI's state. It changes nothing."""

    config: RecipesConfig
    runs: Runs
    clock: Clock
    days: int
    tallies: Verdicts
    _ended: dict[str, tuple[float, bool]] = field(default_factory=dict)

    @property
    def artifacts(self) -> Path:
        """Directory of all runs' files."""
        return self.config.state / ARTIFACTS

    async def rows(self) -> tuple[tuple[Row, ...], tuple[str, ...]]:
        """Read the overview: a row of each recipe, and names that have only a history."""
        latest = await self.runs.listed(history.latest)
        tallies = await self.tallies.all()
        return models.rows(self.config, latest, tallies), models.dropped(self.config, latest)

    async def queue(self) -> tuple[Listed, ...]:
        """Read what runs and waits, bounded."""
        return await self.runs.listed(partial(history.unended, limit=MOST_QUEUE))

    async def page(self, recipe: str, before: int | None) -> tuple[tuple[Listed, ...], int | None]:
        """Read a page of a recipe's history, and the number that the next begins before."""
        ask = partial(history.of_recipe, recipe=recipe, limit=PAGE + 1, before=before)
        found = await self.runs.listed(ask)
        older = found[PAGE - 1].run.sequence if len(found) > PAGE else None
        return found[:PAGE], older

    async def verdicts(self, recipe: str | None, limit: int) -> tuple[Listed, ...]:
        """Read the newest verdicts of a recipe, or of all."""
        return await self.runs.listed(partial(history.verdicts, recipe=recipe, limit=limit))

    def expired(self, run: Run) -> bool:
        """Return whether a run's logs and files are too old to be shown."""
        return models.is_expired(run, self.clock.now_ms(), self.days)

    async def ended(self, run: str) -> bool:
        """Return whether a run has ended, as of a second ago."""
        now = self.clock.steady()
        seen, ended = self._ended.get(run, (0.0, False))
        if not ended and (run not in self._ended or now - seen >= _ENDED_FOR_S):
            found = await self.runs.run(run)
            if len(self._ended) >= _MOST_KNOWN:
                self._ended.clear()
            ended = found is None or found.state.ended
            self._ended[run] = (now, ended)
        return ended

    async def view(self, run: Run) -> RunView:
        """Read all that a run's page shows."""
        before = None if run.state.ended else await self.runs.position(run.id)
        expired = self.expired(run)
        return await asyncio.to_thread(self._view, run, before, expired)

    def _view(self, run: Run, before: int | None, expired: bool) -> RunView:
        files = RunFiles(self.artifacts, run.id)
        result = read_result(run.result) if run.result else self._result(run, files)
        if expired:
            return RunView(run, result, before, True, (), ())
        return RunView(run, result, before, False, self._logs(run, result, files), files.listing())

    def _result(self, run: Run, files: RunFiles) -> Result:
        """Read the file; a run that was started again may have one of its start before."""
        if not run.state.ended:
            return Result()
        try:
            data = files.read(RESULT, MOST_RESULT)
        except NoFileError as error:
            missing = not any(one.path == RESULT for one in files.listing())
            return Result() if missing else Result(faults=(f"{RESULT}: {error.message}",))
        return read_result(data.decode(errors="replace"))

    def _logs(self, run: Run, result: Result, files: RunFiles) -> tuple[LogView, ...]:
        found = files.logs()
        first = models.unfolded(run, result, [one.path for one in found])
        shown = []
        for one in found:
            live = not run.state.ended and one.path == first
            try:
                piece = tail(files, one.path, _TAIL, live=live)
            except NoFileError:  # gone meanwhile
                continue
            shown.append(LogView(one.path, one.size, piece, live, one.path == first))
        return tuple(shown)
