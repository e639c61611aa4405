"""The dashboard, served on loopback over a history that a test makes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from recipe_history import History, configuration, free_port, history

from agency.recipes.dashboard.logs.streaming import Pace, Streams
from agency.recipes.dashboard.server import Dashboard, serving

DAYS = 180


@dataclass
class Board:
    """The server, a client, and the history behind it."""

    past: History
    served: Dashboard
    client: aiohttp.ClientSession

    async def page(self, path: str, status: int = 200) -> str:
        """A page as a browser gets it."""
        headers = {"Accept": "text/html"}
        async with self.client.get(path, headers=headers) as answer:
            text = await answer.text()
            assert answer.status == status, text
            return text

    async def json(self, path: str, status: int = 200) -> Any:
        async with self.client.get(path) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json()


@pytest.fixture
async def past(tmp_path: Path) -> AsyncIterator[History]:
    async with history(tmp_path) as made:
        yield made


@pytest.fixture
async def board(past: History) -> AsyncIterator[Board]:
    with free_port() as port:
        config = configuration(past.state, port, "wiki", "blog", "shop")
        streams = Streams(5, Pace(poll_s=0.02, look_s=0.05, write_s=0.5, hold_s=0.2))
        jar = aiohttp.DummyCookieJar()
        async with (
            serving(config, past.time.clock(), DAYS, streams=streams) as served,
            aiohttp.ClientSession(f"http://127.0.0.1:{port}", cookie_jar=jar) as client,
        ):
            yield Board(past, served, client)
