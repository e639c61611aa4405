"""State of recipe CI, and its engine as a process whose runs a stand-in plays."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from recipe_engines import order

from agency.clock import Clock
from agency.recipes.record.run import Run, RunState
from agency.recipes.record.runs import Runs, open_runs

T = TypeVar("T")
PROGRAM = Path(__file__).with_name("recipe_runner.py")
_STATES = "SELECT id, state FROM runs"


@dataclass
class Desk:
    """State of recipe CI, and the engine as a process."""

    place: Path
    port: int
    grace: str = "20"
    speed: str = "1"

    @property
    def state(self) -> Path:
        return self.place / "state"

    def set_up(self) -> None:
        (self.state / "plan").mkdir(parents=True)
        self.plan("pass")
        config = {
            "domain": "example.org",
            "engine": "builtin",
            "maxTests": 2,
            "buildTimeoutMinutes": 60,
            "recipes": {"wiki": {"repository": "team/wiki"}},
            "forge": {"kind": "gitea", "url": "https://git.example.org"},
            "hosts": {"bridge": "hook.example.org", "dashboard": "ci.example.org"},
            "ports": {"bridge": 8100, "dashboard": 8101, "runner": self.port},
            "wildcard": "*.ci.example.org",
            "state": str(self.state),
        }
        (self.place / "recipes.json").write_text(json.dumps(config))

    def set_up_again(self, **change: object) -> None:
        path = self.place / "recipes.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))

    def plan(self, text: str, number: int | None = None) -> None:
        (self.state / "plan" / (str(number) if number else "default")).write_text(text)

    @contextmanager
    def engine(self, **env: str) -> Iterator[subprocess.Popen[bytes]]:
        log = (self.place / "log").open("ab")
        process = subprocess.Popen(
            [
                sys.executable,
                str(PROGRAM),
                str(self.place / "recipes.json"),
                self.grace,
                self.speed,
            ],
            env={**os.environ, **env},
            stderr=log,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            log.close()

    def with_record(self, work: Callable[[Runs], Awaitable[T]]) -> T:
        async def opened() -> T:
            async with open_runs(self.state, Clock()) as runs:
                return await work(runs)

        return asyncio.run(opened())

    def add(self, *numbers: int) -> list[str]:
        # Of this desk alone: a runner ends what bears the name of its run, on the whole machine.
        names = [f"r{uuid4().hex[:8]}" for _ in numbers]

        async def work(runs: Runs) -> None:
            for number, name in zip(numbers, names, strict=True):
                await runs.add(order(number, comment=number), name)

        self.with_record(work)
        return names

    def run(self, name: str) -> Run:
        found = self.with_record(lambda runs: runs.run(name))
        assert found is not None
        return found

    def notes(self) -> Counter[str]:
        path = self.state / "notes"
        return Counter(path.read_text().splitlines() if path.exists() else ())

    def wait_for(self, what: Callable[[], Any], seconds: float = 40.0) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, (self.place / "log").read_text()[-3000:]
            time.sleep(0.05)

    def states(self) -> dict[str, RunState]:
        """The states by run, read past the program's own store: that takes a second to open."""
        with sqlite3.connect(f"file:{self.state / 'recipes.db'}?mode=ro", uri=True) as record:
            return {run: RunState(state) for run, state in record.execute(_STATES)}

    def wait_ended(self, *names: str) -> list[Run]:
        self.wait_for(lambda: all(self.states()[name].ended for name in names))
        return [self.run(name) for name in names]

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return str(answer.read().decode())
