"""A machine whose units are simulated, and whose services are real programs of Debian."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from observing import Machine, Take, show_units, taker


@pytest.fixture
def take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Take:
    show_units(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return taker(Machine())
