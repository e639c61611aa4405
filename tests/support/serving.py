"""Simulated services on real ports: answers in the official shapes, by nobody's official program.

Each shape is from its project's own documentation; a service here says `Server: simulated`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

DOMAIN = "agency.example"

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
Routes = Mapping[str, Any]


@dataclass
class Service:
    """One simulated service, and what was asked of it."""

    port: int
    asked: list[web.BaseRequest]


Serve = Callable[..., Awaitable[Service]]


def status(code: int, **headers: str) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=code, text="simulated", headers=headers)

    return answer


async def huge(request: web.BaseRequest) -> web.StreamResponse:
    """An answer that goes on for 8 MiB, without a length."""
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(128):
        await response.write(b" " * 65536)
    return response


async def slow(_: web.BaseRequest) -> web.StreamResponse:
    await asyncio.sleep(30)
    return web.Response()


async def trickle(request: web.BaseRequest) -> web.StreamResponse:
    """An answer that begins at once and never ends."""
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(600):
        await response.write(b" ")
        await asyncio.sleep(0.05)
    return response


# Whoever answers in one of these ways is not well, whichever service it is.
BAD: Mapping[str, Any] = {
    "a wrong body": {"unexpected": True},
    "no JSON": status(200),
    "500": status(500),
    "a redirect": status(302, Location="/elsewhere"),
    "a huge body": huge,
    "no answer": slow,
    "an answer without end": trickle,
}
