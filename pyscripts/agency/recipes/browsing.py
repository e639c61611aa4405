"""Chromium for the tests of a recipe, driven by Playwright.

It knows the app's name and those below it, and finds them at the proxy; every other name is not
found. Where the run has authorities (`--ca`), the app's certificate is first checked with those
alone, and Chromium trusts them beside its own.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from agency.chromium import find_browser, trust_authorities
from agency.errors import PrerequisiteError
from agency.recipes.client import AppClient

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, Request

_FLAGS = ("--disable-quic", "--disable-dev-shm-usage", "--disable-background-networking")
_PAGE_S = 15.0
_MAX_TOLD = 200  # lines of all pages of a suite
_MAX_LINE = 500


class Told:
    """Errors inside pages, for the log; bounded."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, line: str) -> None:
        """Take a line."""
        if len(self.lines) < _MAX_TOLD:
            self.lines.append(" ".join(line.split())[:_MAX_LINE])


def rules(app: AppClient) -> str:
    """Return Chromium's rules for names: the app's lead to the proxy, others nowhere."""
    proxy = f"{app.route.host}:{app.route.port}"
    return f"MAP {app.domain} {proxy},MAP *.{app.domain} {proxy},MAP * ~NOTFOUND"


@contextmanager
def browsing(app: AppClient, below: Path) -> Iterator[Browser]:
    """Run a browser for the length of the block; its home, made `below`, is removed at the end.

    Raises:
        PrerequisiteError: Playwright, a Chromium or certutil is missing.
        UnreachableError: the app's certificate is not trusted.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError as error:
        raise PrerequisiteError(
            "Playwright is not installed, which the tests want for a browser",
            hint="pip install 'agency[recipes]'",
        ) from error
    program = find_browser()
    with tempfile.TemporaryDirectory(dir=below, prefix="browser-") as home:
        if app.route.ca_file is not None:
            trust_authorities(Path(home), app.route.ca_file.read_text())
            app.certificate()
        with sync_playwright() as playwright, _launched(playwright, program, app, home) as browser:
            yield browser


def why(told: str) -> str:
    """Return the line that says why a browser ended: its own first one, else Playwright's."""
    said = [line.partition("[err]")[2].strip() for line in told.splitlines() if "[err]" in line]
    return next(iter([*filter(None, said), *told.strip().splitlines()]), "it says nothing")[
        :_MAX_LINE
    ]


@contextmanager
def _launched(playwright: Playwright, program: str, app: AppClient, home: str) -> Iterator[Browser]:
    from playwright.sync_api import Error

    try:
        browser = playwright.chromium.launch(
            executable_path=program,
            chromium_sandbox=os.geteuid() != 0,  # it has none for root
            args=[*_FLAGS, f"--host-resolver-rules={rules(app)}"],
            env={**os.environ, "HOME": home, "TMPDIR": home},
        )
    except Error as error:  # no page of the app has been asked for yet
        raise PrerequisiteError(
            f"Chromium does not start: {why(str(error))}",
            where=program,
            hint="the log of the stage has all that it said",
        ) from error
    try:
        yield browser
    finally:
        browser.close()


@contextmanager
def new_page(browser: Browser, app: AppClient, told: Told) -> Iterator[Page]:
    """Open a page with a store of its own; `page.goto("/")` is the app's front page."""
    context = browser.new_context(base_url=f"{app.route.scheme}://{app.domain}")
    context.set_default_timeout(_PAGE_S * 1000)
    try:
        page = context.new_page()
        _listen(page, told)
        yield page
    finally:
        context.close()


def _listen(page: Page, told: Told) -> None:
    def console(message: ConsoleMessage) -> None:
        if message.type == "error":
            told.add(f"console: {message.text}")

    def failed(request: Request) -> None:
        told.add(f"request failed: {request.method} {request.url}: {request.failure}")

    page.on("console", console)
    page.on("pageerror", lambda error: told.add(f"error in the page: {error}"))
    page.on("requestfailed", failed)
