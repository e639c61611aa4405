"""pytest plugin for the tests of a recipe: fixtures for the deployed app, and results for the run.

The run starts pytest with this plugin and names a private file in AGENCY_RECIPE_APP. A recipe's
tests use the fixtures and need no import:

    def test_front_page(app):
        assert "Welcome" in app.get("/").text
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agency.recipes.client import AppClient, parse_route

VARIABLE = "AGENCY_RECIPE_APP"
_MAX_REASON = 500


def _context() -> dict[str, Any]:
    place = os.environ.get(VARIABLE)
    if not place:
        pytest.skip(f"no app: `agency recipes try` sets {VARIABLE}")
    loaded: dict[str, Any] = json.loads(Path(place).read_text())
    return loaded


@pytest.fixture(scope="session")
def app() -> AppClient:
    """Return an HTTP client of the deployed app."""
    context = _context()
    ca_file = Path(context["ca_file"]) if context["ca_file"] else None
    return AppClient(context["domain"], parse_route(context["through"], ca_file))


@pytest.fixture(scope="session")
def app_secrets() -> Mapping[str, str]:
    """Return the generated secrets of the app, by name, for tests that log in."""
    secrets: Mapping[str, str] = _context()["secrets"]
    return secrets


@pytest.fixture(scope="session")
def run_marker() -> str:
    """Return text that only this run knows: the data to write, and to look for later."""
    return f"written by {_context()['run']}"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write each test's result for the run."""
    place = os.environ.get(VARIABLE)
    if not place or (report.when != "call" and report.passed):
        return
    reason = "" if report.passed else _reason(report)
    row = {
        "name": report.nodeid,
        "outcome": {"passed": "pass", "failed": "fail", "skipped": "skip"}[report.outcome],
        "seconds": round(report.duration, 3),
        "reason": reason[:_MAX_REASON],
    }
    with Path(json.loads(Path(place).read_text())["results"]).open("a") as file:
        file.write(json.dumps(row) + "\n")


def _reason(report: pytest.TestReport) -> str:
    """Return the line that says why: the assertion's, or the reason of a skip."""
    longrepr = report.longrepr
    if isinstance(longrepr, tuple):  # of a skip: file, line, reason
        return str(longrepr[2])
    crash = getattr(longrepr, "reprcrash", None)
    message = crash.message if crash is not None else getattr(longrepr, "errorstring", longrepr)
    return str(message or "").strip().partition("\n")[0]
