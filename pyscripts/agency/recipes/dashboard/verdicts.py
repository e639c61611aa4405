"""Last verdicts of every recipe, kept in memory: 25,000 rows would be read for each overview.

A run that ended since the last look had not ended then, or was ordered after it. So what is read
again is of those recipes alone, and only if the record has more verdicts than then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from agency.recipes.dashboard.views.flakiness import LAST, Tally, tally
from agency.recipes.record import history
from agency.recipes.record.history import Mark
from agency.recipes.record.runs import Runs


@dataclass(slots=True)
class Verdicts:
    """Tallies of all recipes, as the record has them now."""

    runs: Runs
    _known: dict[str, Tally] = field(default_factory=dict)
    _seen: Mark | None = None
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def all(self) -> Mapping[str, Tally]:
        """Read what changed since the last look; return all tallies, by recipe."""
        async with self._looking:
            mark = await self.runs.listed(history.mark)
            if self._seen is None:
                self._known = await self._read(None)
            elif mark.verdicts != self._seen.verdicts:
                newer = await self.runs.listed(partial(history.newer, than=self._seen.newest))
                self._known |= await self._read(self._seen.unended | newer)
            self._seen = mark
            return self._known

    async def of(self, recipe: str) -> Tally:
        """Read the verdicts of one recipe."""
        return (await self._read(frozenset({recipe}))).get(recipe, Tally())

    async def _read(self, recipes: frozenset[str] | None) -> dict[str, Tally]:
        found = await self.runs.listed(partial(history.judged, last=LAST, recipes=recipes))
        return {name: tally(last) for name, last in found.items()}
