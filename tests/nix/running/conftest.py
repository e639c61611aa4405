"""One evaluation for all tests that look at units as the machine would start them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ENGINES = ("builtin", "woodpecker", "drone")


@pytest.fixture(scope="session")
def hosts(
    new_instance: Callable[..., Path],
    with_engine: Callable[[str], dict[str, Any]],
    evaluate: Callable[..., Any],
    snapshot: Path,
) -> dict[str, Any]:
    """The facts of the full machine with each engine, and what `report.nix` says besides."""
    instances = {
        engine: new_instance(f"walk-{engine}", services=with_engine(engine)) for engine in ENGINES
    }
    instances["ephemeral"] = new_instance(
        "walk-ephemeral",
        secrets={"provider": "ephemeral"},
        services={"matrix": {"enable": True}},
        preview=[],
    )
    attrs = " ".join(f'{name} = "{path}";' for name, path in instances.items())
    report = snapshot / "tests/nix/running/report.nix"
    found: dict[str, Any] = evaluate(report, "--arg", "instances", f"{{ {attrs} }}")
    return found


@pytest.fixture(scope="session")
def said(hosts: dict[str, Any]) -> dict[str, Any]:
    """Values of single settings of the machine."""
    said: dict[str, Any] = hosts["said"]
    return said
