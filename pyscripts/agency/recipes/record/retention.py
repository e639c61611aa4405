"""Removal of what runs left on disk once their retention is over; the record keeps the results.

Only directories of runs that the record says have ended: never of one that runs or waits, nor what
is no run's.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.engine import Connection

from agency.clock import Clock
from agency.errors import AgencyError
from agency.recipes.naming import is_run_id
from agency.recipes.record.runs import Runs
from agency.recipes.record.tables import runs

EVERY_S = 3600.0
MOST = 200  # directories that one look removes
_SOME = 500  # that one question to the record names
_DAY_MS = 86_400_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Retention:
    """Retention of the runs' directories below `artifacts`, in days after a run's end."""

    runs: Runs
    artifacts: Path
    days: int
    clock: Clock

    async def keep(self) -> None:
        """Remove what is too old, now and each hour."""
        while True:
            try:
                removed = await self.remove_old()
            except (AgencyError, OSError) as error:
                _log.warning("old results are not removed: %s", error)
            else:
                if removed:
                    _log.info("removed the files of %d old runs", len(removed))
            await asyncio.sleep(EVERY_S)

    async def remove_old(self) -> tuple[str, ...]:
        """Remove the oldest directories that are too old, some at once; return their runs."""
        names = await asyncio.to_thread(_directories, self.artifacts)
        until = self.clock.now_ms() - self.days * _DAY_MS
        old: list[str] = []
        for first in range(0, len(names), _SOME):
            some = names[first : first + _SOME]
            old += await self.runs.view(partial(_ended, some=some, until_ts=until))
            if len(old) >= MOST:
                break
        return await asyncio.to_thread(self._remove, old[:MOST])

    def _remove(self, old: Sequence[str]) -> tuple[str, ...]:
        removed = []
        for run in old:
            try:
                shutil.rmtree(self.artifacts / run)
            except OSError as error:
                _log.warning("the files of run %s are not removed: %s", run, error)
            else:
                removed.append(run)
        return tuple(removed)


def _directories(artifacts: Path) -> list[str]:
    found = (one.name for one in artifacts.iterdir() if is_run_id(one.name))
    return sorted(islice(found, 1_000_000))


def _ended(connection: Connection, some: Sequence[str], until_ts: int) -> list[str]:
    wanted = select(runs.c.id).where(runs.c.id.in_(some), runs.c.ended_ts < until_ts)
    return list(connection.execute(wanted.order_by(runs.c.ended_ts)).scalars())
