"""A real HTTP server on loopback that answers as a test says, for faults Synapse seldom has."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from agency.matrix import MatrixSession, client_session

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Homeserver:
    """SIMULATED: gives the scripted answers in order, the last one for ever."""

    answers: list[Answer] = field(default_factory=list)
    url: str = ""
    seen: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    ending: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        data = await request.read()
        said = json.loads(data) if data else None
        self.seen.append((request.method, request.raw_path, dict(request.query), said))
        self.tokens.append(request.headers.get("Authorization"))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return await answer(request)


@pytest.fixture
async def homeserver() -> AsyncIterator[Homeserver]:
    stand_in = Homeserver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", stand_in.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stand_in.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield stand_in
    stand_in.ending.set()
    await runner.cleanup()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with client_session() as session:
        yield session


@pytest.fixture
def session(homeserver: Homeserver, http: aiohttp.ClientSession) -> MatrixSession:
    return MatrixSession(homeserver.url, http, "token-of-alice")


@pytest.fixture
def gives() -> Callable[..., Answer]:
    """Makes an answer: a JSON value, or raw bytes, with a status and headers."""

    def gives(value: Any, status: int = 200, **headers: str) -> Answer:
        async def answer(_: web.Request) -> web.Response:
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            named = {key.replace("_", "-"): text for key, text in headers.items()}
            return web.Response(body=body, status=status, headers=named)

        return answer

    return gives
