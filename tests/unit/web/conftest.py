"""An application of the factory on loopback, with small limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web

from agency.web import Limits, as_wanted, make_app, make_runner

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
LIMITS = Limits(
    body_bytes=1000, body_s=0.3, answer_s=0.3, line_bytes=500, linger_s=0.1, shutdown_s=0.1
)


@dataclass
class Served:
    """The server: `handler` answers `/`, and notes the bodies that reached it."""

    handler: Handler | None = None
    port: int = 0
    bodies: list[bytes] = field(default_factory=list)
    ending: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.read())
        return web.Response(text="done") if self.handler is None else await self.handler(request)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    served = Served()
    app = make_app(LIMITS, as_wanted)
    app.router.add_post("/", served.answer)
    app.router.add_get("/", served.answer)
    runner = make_runner(app, LIMITS)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    served.port = runner.addresses[0][1]
    yield served
    served.ending.set()
    await runner.cleanup()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session
