"""Whole spin-ups in guests of a real Incus, and looking whether anything of them is left."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from driving import BIN, ROOT, SpinUp

from agency.children import processes_with_marker
from agency.guests.incus.daemon import connect_incus, is_running
from agency.guests.incus.execution import Command

DEADLINE_S = 1500
COPIED = ("pyproject.toml", "README.md", "LICENSE", "pyscripts", "modules", "instance", "tests")
COPIED += ("requirements", "docs", "setup.py", "secrets")


@dataclass(frozen=True)
class Ground:
    """Where these spin-ups keep their state, and what must be gone after each."""

    place: Any

    @property
    def state_home(self) -> Path:
        return Path(self.place.environ["XDG_STATE_HOME"])

    def runs(self) -> list[str]:
        """The runs that have a directory."""
        return [path.name for path in (self.state_home / "agency" / "runs").glob("run-*")]

    def environment(self) -> dict[str, str]:
        return {key: str(value) for key, value in self.place.environ.items()}

    def agency(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **self.environment()}
        argv = [str(BIN / "agency"), *arguments]
        return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120)

    def instances(self) -> list[str]:
        async def look() -> list[str]:
            async with connect_incus(self.place.environ) as client:
                return [instance.name for instance in await client.instances()]

        return asyncio.run(look())

    def end(self, name: str) -> bool:
        """Stop a guest as a power cut would."""

        async def stop() -> bool:
            async with connect_incus(self.place.environ) as client:
                await client.change_state(name, "stop", timeout_s=30, force=True)
                return True

        return asyncio.run(stop())

    def exec(self, name: str, *argv: str) -> None:
        """Run a program in a guest, behind the back of who made it."""

        async def run() -> int:
            async with connect_incus(self.place.environ) as client:
                return (await client.exec(name, Command(argv), timeout_s=60)).exit_status

        assert asyncio.run(run()) == 0, argv

    def assert_nothing_left(self, *runs: str) -> None:
        """No instance, process, mount, run or half-made image; as people would look, too."""
        listed = self.agency("guest", "list", "--json")
        assert json.loads(listed.stdout) == [], listed
        assert self.instances() == []
        assert not is_running(self.place.environ), "our Incus ends with its last user"
        for run in runs:
            assert processes_with_marker(run) == ()
        assert self.runs() == []
        assert list((self.state_home / "agency" / "guest").glob("*/.making.*")) == []
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        places = (str(self.state_home), str(self.place.materials))  # not those of another worker
        making = [line.split()[1] for line in mounts if "/.making." in line]
        assert [path for path in making if path.startswith(places)] == []


@pytest.fixture(scope="session")
def ground(place: Any) -> Ground:
    """State directory and Incus of these tests; images are shared with the other guest tests."""
    place.state.mkdir(exist_ok=True)
    place.materials.mkdir(exist_ok=True, parents=True)
    link = place.state / "guest"
    if not link.exists():
        link.symlink_to(place.materials)
    return Ground(place)


Make = Callable[..., SpinUp]


@pytest.fixture
def spinup(ground: Ground, tmp_path: Path) -> Iterator[Make]:
    """Make spin-ups in guests; what a test leaves running is killed."""
    made: list[SpinUp] = []

    def make(*arguments: str, checkout: Path = ROOT) -> SpinUp:
        place = tmp_path / f"s{len(made)}"
        place.mkdir()
        made.append(
            SpinUp(
                place,
                ("--target", "incus", *arguments),
                state=ground.state_home,
                checkout=checkout,
                environment=ground.environment(),
                deadline_s=DEADLINE_S,
            )
        )
        return made[-1]

    yield make
    for each in made:
        if each.process is not None and each.process.poll() is None:
            each.process.kill()
            each.process.wait()


@pytest.fixture
def changed_checkout(tmp_path: Path) -> Callable[[str, Callable[[str], str]], Path]:
    """A copy of this checkout with one file changed: a real defect, in real sources."""

    def change(file: str, how: Callable[[str], str]) -> Path:
        copy = tmp_path / "checkout"
        copy.mkdir()
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", ".hypothesis")
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=ignored, symlinks=True)
            else:
                shutil.copy2(source, copy / name)
        text = (copy / file).read_text()
        assert how(text) != text, "the defect was not planted"
        (copy / file).write_text(how(text))
        return copy

    return change
