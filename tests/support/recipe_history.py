"""A history of recipe CI as bridge and engine leave it: runs on record, and their directories."""

from __future__ import annotations

import contextlib
import itertools
import json
import struct
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agency.clock import Clock
from agency.listening import hold
from agency.recipes.configuration import RecipesConfig
from agency.recipes.naming import run_id
from agency.recipes.record.run import Order, Run, RunState
from agency.recipes.record.runs import Runs, open_runs

NOW = 1_764_200_000.0
COMMIT = "6a38a610c41f" + "0" * 28
STAGES = ("install", "upgrade", "backup", "custom")


@dataclass
class Time:
    """Wall time that a test moves; the steady clock is the real one."""

    now: float = NOW

    def clock(self) -> Clock:
        return Clock(wall=lambda: self.now)


def configuration(state: Path, port: int, *recipes: str, **changes: Any) -> RecipesConfig:
    """A configuration with these recipes, as NixOS writes it."""
    written = {
        "domain": "example.org",
        "engine": "builtin",
        "maxTests": 2,
        "buildTimeoutMinutes": 60,
        "recipes": {name: {"repository": f"team/{name}"} for name in recipes},
        "forge": {"kind": "gitea", "url": "https://git.example.org"},
        "hosts": {"bridge": "hook.example.org", "dashboard": "ci.example.org"},
        "ports": {"bridge": 1, "dashboard": port},
        "wildcard": "*.ci.example.org",
        "state": str(state),
    }
    return RecipesConfig.model_validate(written | changes)


@contextlib.contextmanager
def free_port() -> Iterator[int]:
    """A port that is free, as far as one can know."""
    held = hold(("dashboard",), {})
    port = held.numbers["dashboard"]
    held.close()
    yield port


def result(run: str, recipe: str = "wiki", **changes: Any) -> dict[str, Any]:
    """A whole `result.json` of a run that passed."""
    return {
        "run": run,
        "recipe": recipe,
        "version": "1.1.0+1.27.2",
        "commit": COMMIT,
        "modified": False,
        "domain": f"{recipe}-pr-7-{run}.ci.example.org",
        "abra": "abra version 0.11.0-beta",
        "started": "2026-11-26T20:00:00.000Z",
        "seconds": 83.4,
        "outcome": "pass",
        "stages": [
            {
                "name": name,
                "outcome": "pass",
                "seconds": 20.5,
                "reason": "",
                "notes": ["from 1.0.0+1.26.0"] if name == "upgrade" else [],
                "tests": [
                    {
                        "name": f"tests/test_{name}.py::test_front_page",
                        "outcome": "pass",
                        "seconds": 0.4,
                        "reason": "",
                    }
                ],
            }
            for name in STAGES
        ],
        "teardown": {"clean": True, "kept": False, "swept": [], "left": []},
        "artifacts": f"/var/lib/agency-recipes/artifacts/{run}",
        "screenshots": ["front.png"],
        "images": [{"service": "app", "image": "nginx:1.27.2", "digest": "sha256:5f0574"}],
        "usage": {"memory_mib": 118, "cpu_seconds": 3.25},
        "overlay": {},
        **changes,
    }


FAILURE = "AssertionError: assert 'Welcome' in '502 Bad Gateway'"


def failed(run: str, recipe: str = "wiki") -> dict[str, Any]:
    """A `result.json` whose upgrade failed."""
    document = result(run, recipe, outcome="fail")
    stage = document["stages"][1]
    stage |= {"outcome": "fail", "reason": "1 of 1 tests failed"}
    stage["tests"][0] |= {"outcome": "fail", "reason": FAILURE}
    for later in document["stages"][2:]:
        later |= {"outcome": "skip", "reason": "upgrade failed", "tests": []}
    return document


def png(width: int = 320, height: int = 180, colour: tuple[int, int, int] = (11, 95, 165)) -> bytes:
    """An image of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    rows = (b"\0" + bytes(colour) * width) * height
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@dataclass
class History:
    """The state directory, its record, and the time."""

    state: Path
    runs: Runs
    time: Time
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    async def add(self, recipe: str = "wiki", **changes: Any) -> Run:
        """Queue a run, a minute after the one before."""
        number = next(self._numbers)
        self.time.now += 60
        order = replace(
            Order(
                recipe=recipe,
                project=f"team/{recipe}",
                pull_request=7,
                commit=COMMIT,
                head_ref="refs/pull/7/head",
                clone_url=f"https://git.example.org/team/{recipe}.git",
                stages=STAGES,
                requester="ada",
                comment=number,
            ),
            **changes,
        )
        return (await self.runs.add(order, run_id(number.to_bytes(5)))).run

    async def start(self, recipe: str = "wiki", **changes: Any) -> Run:
        """Queue a run and start it; nothing else may be queued."""
        added = await self.add(recipe, **changes)
        taken = await self.runs.take(1000)
        assert taken is not None
        assert taken.id == added.id, "another one was queued before"
        begun = await self.runs.begin(taken.id, "builtin")
        assert begun is not None
        return begun

    async def end(
        self, run: str, state: RunState = RunState.PASSED, reason: str = "", result: Any = None
    ) -> Run:
        """End a run; a result that is no text is written as JSON."""
        self.time.now += 84
        text = result if result is None or isinstance(result, str) else json.dumps(result)
        ended = await self.runs.end(run, state, reason, text)
        assert ended is not None
        return ended

    async def passed(self, recipe: str = "wiki", **changes: Any) -> Run:
        """A run that passed, with its log and a screenshot."""
        run = await self.start(recipe, **changes)
        self.log(run.id, "install", "deploying\n\x1b[32mconverged\x1b[0m\n")
        self.file(run.id, "screenshots/front.png", png())
        return await self.end(run.id, RunState.PASSED, result=result(run.id, recipe))

    async def failed(self, recipe: str = "wiki", **changes: Any) -> Run:
        """A run whose upgrade failed."""
        run = await self.start(recipe, **changes)
        for name in ("install", "upgrade"):
            self.log(run.id, name, f"{name} begins\n\x1b[1;31m{FAILURE}\x1b[0m\n")
        reason = "upgrade: 1 of 1 tests failed"
        return await self.end(run.id, RunState.FAILED, reason, failed(run.id, recipe))

    def place(self, run: str) -> Path:
        """The directory of a run."""
        return self.state / "artifacts" / run

    def log(self, run: str, name: str, text: str | bytes) -> Path:
        """Add to a log of a run."""
        path = self.place(run) / "logs" / f"{name}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(text.encode() if isinstance(text, str) else text)
        return path

    def file(self, run: str, path: str, data: bytes) -> Path:
        """Write a file of a run."""
        place = self.place(run) / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        return place


@contextlib.asynccontextmanager
async def history(state: Path) -> AsyncIterator[History]:
    """A history that is empty."""
    time = Time()
    async with open_runs(state, time.clock()) as runs:
        yield History(state, runs, time)
