"""The numbers of the metering proxy, by a small run of them."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


async def test_a_small_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    module = importlib.import_module("benchmarks.models")
    own, memory = await module.measure(3)
    assert own.baseline_value > 0
    assert 10 < memory.value < 200
