"""A server of the appservice on a real socket, and the parts behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from served_plane import RIGHT, TRANSACTIONS, Client, Plane, Put, told

from agency.clock import Clock
from agency.control.appservice.server import build_app
from agency.store import Database


@pytest.fixture
def plane(database: Database, clock: Clock) -> Plane:
    return Plane(database, clock)


@pytest.fixture
async def client(plane: Plane) -> AsyncIterator[Client]:
    async with TestClient(TestServer(build_app(plane.service()))) as opened:
        yield opened


@pytest.fixture
def put(client: Client) -> Put:
    async def put(body: Any, txn: str = "1") -> tuple[int, Any]:
        kind = {"json": body} if isinstance(body, dict | list) else {"data": body}
        return await told(await client.put(f"{TRANSACTIONS}/{txn}", headers=RIGHT, **kind))

    return put
