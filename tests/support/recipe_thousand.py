"""The runner over a real record, with an engine whose runs end at once: `recipe_thousand.py STATE`.

Each start is noted; a run's result is written a moment after its start, as by a quick child.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from pathlib import Path

from recipe_engines import result_of

from agency.clock import Clock
from agency.files import write_atomically
from agency.recipes.engine.port import Build, Phase, Status
from agency.recipes.engine.runner import Bounds, Runner
from agency.recipes.record.run import Run, RunState
from agency.recipes.record.runs import open_runs


@dataclass
class QuickEngine:
    """Engine of one process: what it started is lost with it, but for the results on disk."""

    place: Path
    name: str = "quick"
    outlives: bool = False
    builds: set[str] = field(default_factory=set)

    async def start(self, run: Run) -> Build:
        with (self.place / "notes").open("a") as notes:
            notes.write(f"start {run.id}\n")
        self.builds.add(run.id)
        return Build(run.id)

    async def find(self, run: Run) -> Build | None:
        return Build(run.id) if run.id in self.builds else None

    async def state(self, build: Build) -> Status:
        if build.id not in self.builds:
            return Status(Phase.LOST)
        place = self.place / "artifacts" / build.id
        place.mkdir(parents=True, exist_ok=True)
        with (self.place / "notes").open("a") as notes:
            notes.write(f"result {build.id}\n")
        write_atomically(place / "result.json", result_of(build.id, "pass").encode())
        return Status(Phase.PASSED)

    async def cancel(self, build: Build) -> None:
        self.builds.discard(build.id)

    async def clean(self, run: Run) -> None:
        del run

    def logs_url(self, build: Build) -> str:
        return build.url

    async def close(self) -> None:
        self.builds.clear()


async def serve(place: Path) -> None:
    """Run all that is queued, then end."""
    async with open_runs(place, Clock()) as runs:
        bounds = Bounds(8, 60, 60.0)
        runner = Runner(runs, QuickEngine(place), place / "artifacts", bounds, Clock())
        (place / "ready").touch()
        while True:
            await runner.step()
            await runner.settle()
            counts = await runs.counts()
            if not counts[RunState.QUEUED] and not counts[RunState.RUNNING]:
                return


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
