"""pytest plugin for the tests of a recipe: fixtures for the deployed app, and results for the run.

The run starts pytest with this plugin and names a private file in AGENCY_RECIPE_APP. A recipe's
tests use the fixtures and need no import:

    def test_front_page(app):
        assert "Welcome" in app.get("/").text

    def test_log_in(page, app_secrets):
        page.goto("/login")
        page.fill("input[name=password]", app_secrets["admin_password"])
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agency.errors import PrerequisiteError
from agency.recipes.browsing import Told, browsing, new_page
from agency.recipes.client import AppClient, parse_route

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

VARIABLE = "AGENCY_RECIPE_APP"
_MAX_REASON = 500
_SHOT_MS = 5000.0
_SHOT, _LACKING = "agency screenshot", "agency lacking"


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


@pytest.fixture(scope="session")
def browser(app: AppClient) -> Iterator[Browser]:
    """Return a Chromium that knows the app alone (Playwright)."""
    with browsing(app, Path.home()) as started:
        yield started


@pytest.fixture
def page(browser: Browser, app: AppClient) -> Iterator[Page]:
    """Return a fresh page; at the end of the test a screenshot of it is kept."""
    with new_page(browser, app, _TOLD) as opened:
        yield opened


_TOLD = Told()
_NUMBER = itertools.count(1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Take the screenshot of a test, before its page is closed; tell lacking programs apart."""
    report = yield
    error = call.excinfo.value if call.excinfo is not None else None
    if isinstance(error, PrerequisiteError):
        report.user_properties.append((_LACKING, f"{error.message}: {error.hint or error.where}"))
    opened = getattr(item, "funcargs", {}).get("page")
    if call.when == "call" and opened is not None:
        report.user_properties.append((_SHOT, _shoot(opened)))
    return report


def _shoot(opened: Page) -> str:
    """Take a screenshot; empty if the page is gone or there is no place for it."""
    place = _context().get("pictures")
    if not place:
        return ""
    name = f"{next(_NUMBER)}.png"
    try:
        opened.screenshot(path=Path(place) / name, timeout=_SHOT_MS)
    except Exception as error:  # noqa: BLE001 - of Playwright; a test is not judged by its picture
        _TOLD.add(f"no screenshot: {error}")
        return ""
    return name


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write the errors inside pages into the log, also of tests that passed."""
    if _TOLD.lines:
        terminalreporter.section("browser")
        for line in _TOLD.lines:
            terminalreporter.write_line(line)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write each test's result for the run."""
    place = os.environ.get(VARIABLE)
    if not place or (report.when != "call" and report.passed):
        return
    told = {name: value for name, value in report.user_properties if isinstance(value, str)}
    reason = "" if report.passed else told.get(_LACKING) or _reason(report)
    outcome = {"passed": "pass", "failed": "fail", "skipped": "skip"}[report.outcome]
    row = {
        "name": report.nodeid,
        "outcome": "error" if _LACKING in told else outcome,
        "seconds": round(report.duration, 3),
        "reason": reason[:_MAX_REASON],
        "screenshot": told.get(_SHOT, ""),
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
