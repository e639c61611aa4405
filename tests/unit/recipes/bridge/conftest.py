"""A bridge over a FAKE forge, with a record on disk: `bench.bridge()` is a fresh process."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fake_forge import START, FakeForge

from agency.clock import Clock
from agency.recipes.bridge.process import make_bridge
from agency.recipes.bridge.service import Bridge
from agency.recipes.configuration import RecipesConfig
from agency.recipes.record.run import Run
from agency.recipes.record.runs import FILE, Runs, open_runs


def config(state: Path, *projects: str, **bridge: object) -> RecipesConfig:
    names = projects or ("team/wiki",)
    return RecipesConfig.model_validate(
        {
            "domain": "example.org",
            "engine": "builtin",
            "maxTests": 2,
            "buildTimeoutMinutes": 60,
            "recipes": {each.rpartition("/")[2]: {"repository": each} for each in names},
            "forge": {"kind": "gitea", "url": "https://forge.example.org"},
            "hosts": {"bridge": "hook.example.org", "dashboard": "ci.example.org"},
            "ports": {"bridge": 8100, "dashboard": 8101},
            "wildcard": "*.ci.example.org",
            "state": str(state),
            "bridge": bridge,
        }
    )


@dataclass
class Bench:
    state: Path
    runs: Runs
    forge: FakeForge = field(default_factory=FakeForge)
    wall_s: float = 1_000_000.0  # of this machine, which no decision may use
    steady_s: float = 0.0
    poll_s: float = 20.0
    projects: tuple[str, ...] = ("team/wiki",)
    settings: dict[str, object] = field(default_factory=dict)

    def bridge(self, clock: Clock | None = None) -> Bridge:
        """Make a bridge as a new process has it."""
        clock = clock or Clock(wall=lambda: self.wall_s, steady=lambda: self.steady_s)
        made = config(self.state, *self.projects, **self.settings)
        bridge = make_bridge(made, self.forge, self.runs, self.poll_s, clock)

        async def no_sleep(_: float) -> None:
            return None

        object.__setattr__(bridge.looker.judge, "sleep", no_sleep)
        return bridge

    def pass_time(self, seconds: int) -> None:
        self.forge.time_s += seconds
        self.steady_s += seconds
        self.wall_s += seconds

    async def look(self, bridge: Bridge | None = None, project: str = "team/wiki") -> None:
        await (bridge or self.bridge()).looker.look(project)

    async def tell(self, bridge: Bridge | None = None) -> None:
        """Tell everything that is to be told."""
        teller = (bridge or self.bridge()).teller
        for settled in await teller.memory.unsent(()):
            await teller.reply(settled)
        for run in await self.runs.untold():
            await teller.tell(run)

    async def all_runs(self) -> list[Run]:
        found = [await self.runs.of_recipe(each.rpartition("/")[2]) for each in self.projects]
        return sorted(itertools.chain(*found), key=lambda run: run.sequence)


@pytest.fixture(scope="session")
def empty_record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record that is up to date, to be copied: making one takes a tenth of a second."""
    place = tmp_path_factory.mktemp("record")

    async def make() -> None:
        async with open_runs(place, Clock()):
            return

    asyncio.run(make())
    return place / FILE


@pytest.fixture
async def bench(tmp_path: Path, empty_record: Path) -> AsyncIterator[Bench]:
    shutil.copyfile(empty_record, tmp_path / FILE)
    async with contextlib.AsyncExitStack() as stack:
        runs = await stack.enter_async_context(open_runs(tmp_path, Clock(wall=lambda: 1_000_000.0)))
        made = Bench(tmp_path, runs)
        made.forge.open()
        assert made.forge.time_s == START
        yield made


@pytest.fixture
async def watched(bench: Bench) -> Bench:
    """The bench after the first look at its project, a minute later."""
    await bench.look()
    bench.pass_time(60)
    return bench
