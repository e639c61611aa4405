"""Common part of the engines of others: ending and cleaning up runs on this machine."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from agency.children import kill_marked, processes_with_marker, stat_fields
from agency.recipes.configuration import EngineSettings
from agency.recipes.engine.port import Build, EngineError, Phase, Status
from agency.recipes.engine.remote.api import Api
from agency.recipes.record.run import Run

RUN, ATTEMPT = "AGENCY_RECIPES_RUN", "AGENCY_RECIPES_ATTEMPT"  # of a build
LISTED = 50  # newest builds among which one is looked for
_MARKED_GRACE_S = 5.0


@dataclass(frozen=True, slots=True)
class Remote:
    """Engine by its interface. `janitor` removes what dead runs left on the swarm."""

    api: Api
    settings: EngineSettings
    janitor: Callable[[], None]

    outlives: ClassVar[bool] = True

    async def cancel(self, build: Build) -> None:
        """Ask the run's program here to end; it tears its app down, and then its build ends."""
        if not await asyncio.to_thread(ask_to_end, build.id.partition("/")[2]):
            await self.drop(build)

    async def drop(self, build: Build) -> None:
        """Cancel a build that has no program here."""
        raise NotImplementedError

    async def clean(self, run: Run) -> None:
        """End every process of a run, and remove what is left of its app."""
        await asyncio.to_thread(kill_marked, run.id, _MARKED_GRACE_S)
        await asyncio.to_thread(self.janitor)

    def logs_url(self, build: Build) -> str:
        """Return the page of the build."""
        return build.url

    async def close(self) -> None:
        """Close the connections."""
        await self.api.session.close()


def parameters(run: Run) -> dict[str, str]:
    """Return the parameters of a build: ids of our own, so nothing of a recipe is interpreted."""
    return {RUN: run.id, ATTEMPT: str(run.attempts)}


def phase_of(word: str, known: Mapping[str, Phase]) -> Status:
    """Read a state.

    Raises:
        EngineError: it is none that is known; nothing is concluded from it.
    """
    phase = known.get(word)
    if phase is None:
        raise EngineError(f"unknown state {word[:40]!r} of a build")
    return Status(phase, word)


def ask_to_end(run: str) -> bool:
    """Send SIGTERM to the program of a run, not to what it started; False if there is none."""
    marked = set(processes_with_marker(run)) if run else set()
    leaders = [pid for pid in marked if _parent(pid) not in marked]
    for pid in leaders:
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            continue
    return bool(leaders)


def _parent(pid: int) -> int:
    try:
        return int(stat_fields(pid)[1])
    except OSError:  # it ended meanwhile
        return 0
