"""The dashboard in a real, headless Chromium."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from page_browser import Page, browsing_loopback, missing
from recipe_history import History, configuration, free_port, history

from agency.recipes.dashboard.logs.streaming import Streams
from agency.recipes.dashboard.server import Dashboard, serving


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever opens pages belongs to the suite `make test-pages`."""
    for item in items:
        if "seen" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.pages)


@dataclass
class Seen:
    """The dashboard, the history behind it, and a person's browser."""

    past: History
    page: Page
    served: Dashboard


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seen(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Seen]:
    """One server and one browser for a module."""
    lacking = missing()
    if lacking is not None:
        if os.environ.get("AGENCY_REQUIRE_PAGES"):
            pytest.fail(f"{lacking}: python3 tools/page_checks.py")
        pytest.skip(f"{lacking}: make test-pages")
    place = tmp_path_factory.mktemp("pages")
    (place / "state").mkdir()
    with free_port() as port:
        async with history(place / "state") as past:
            names = ("wiki", "blog", "shop", "chat", "new")
            config = configuration(place / "state", port, *names)
            clock = past.time.clock()
            async with (
                serving(config, clock, 180, streams=Streams(most=3)) as served,
                browsing_loopback(f"http://127.0.0.1:{port}", place / "home") as page,
            ):
                yield Seen(past, page, served)
