"""Driving the real `spinup_smoke` as a person or a mishap would."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from driving import BIN, DEADLINE_S, ROOT, SpinUp


@pytest.fixture
def spinup(tmp_path):
    """Make spin-ups; whatever they leave running is ended by its own marker."""
    made: list[SpinUp] = []

    def make(*arguments: str, state: Path | None = None) -> SpinUp:
        place = tmp_path / f"s{len(made)}"
        place.mkdir()
        made.append(SpinUp(place, arguments, state))
        return made[-1]

    yield make
    for each in made:
        if each.process is not None and each.process.poll() is None:
            each.process.kill()
            each.process.wait()


@pytest.fixture
def agency(tmp_path):
    """Run the real `agency` command in a home and state directory of its own."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "XDG_STATE_HOME": str(tmp_path / "agency-state"),
        "LANG": "C.UTF-8",
    }

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BIN / "agency"), *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )

    return call
