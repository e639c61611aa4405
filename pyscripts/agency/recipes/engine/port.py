"""Port of the engines: what the runner asks of whatever starts the runs.

The same suite holds for every engine: tests/unit/recipes/engine/conformance.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from agency.errors import AgencyError
from agency.recipes.record.run import Run


class EngineError(AgencyError):
    """Engine that does not answer, or not as its interface says. It is asked again later."""


class EngineRefusedError(AgencyError):
    """Start that an engine refuses, now and later: its settings are wrong."""


class Phase(Enum):
    """Phases of a build. LOST: the engine knows nothing of it, or it died with its engine."""

    WAITING = "waiting"
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def over(self) -> bool:
        """True of a phase that nothing follows."""
        return self not in (Phase.WAITING, Phase.RUNNING)


@dataclass(frozen=True, slots=True)
class Build:
    """A run at an engine: the engine's id of it, and its page there; empty if it has none."""

    id: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """State of a build; `detail` says more, such as an exit status."""

    phase: Phase
    detail: str = ""


class Engine(Protocol):
    """Engine that runs `agency recipes run RUN` for each run, on this machine.

    Every method raises EngineError where the engine does not answer as it should.
    """

    @property
    def name(self) -> str:
        """Name of the engine, as in the instance."""

    @property
    def outlives(self) -> bool:
        """True if builds go on while this program does not run."""

    async def start(self, run: Run) -> Build:
        """Start a build of a run.

        Raises:
            EngineRefusedError: it will never start one.
        """

    async def find(self, run: Run) -> Build | None:
        """Find the build of this start of a run (`run.attempts`); None if there was none."""

    async def state(self, build: Build) -> Status:
        """Return the state of a build."""

    async def cancel(self, build: Build) -> None:
        """Ask for the end of a build, with its teardown; `state` says when it has ended."""

    async def clean(self, run: Run) -> None:
        """Remove what a dead build of a run left on this machine."""

    def logs_url(self, build: Build) -> str:
        """Return the address of its log; empty if it has none of its own."""

    async def close(self) -> None:
        """Release what the engine holds here; builds that can go on without it do."""
