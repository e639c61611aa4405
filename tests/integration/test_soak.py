"""A short soak with real parts, so that the harness works when it is wanted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.thorough
@pytest.mark.timeout(600)
def test_short_soak(tmp_path: Path) -> None:
    output = tmp_path / "soak.jsonl"
    argv = [sys.executable, "-m", "soak", "--store", "sqlite", "--minutes", "0.5"]
    argv += ["--commands", "40", "--seed", "5", "--calm", "4"]
    done = subprocess.run(
        [*argv, "--place", str(tmp_path / "run"), "--output", str(output)],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(output.read_text())
    assert figures["commands"] == 60, "the plan's, and five of each agent at the end"
    assert figures["disruptions"] >= 2
    assert figures["done"] >= 30
    assert figures["refused_in_the_control_room"] >= 1
    assert (figures["lost"], figures["doubled"], figures["wrong"]) == (0, 0, 0)


def test_usage_is_explained() -> None:
    argv = [sys.executable, "-m", "soak", "--help"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "--side-by-side" in done.stdout
