"""Server of a scripted model: chat completions on loopback."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from agency.agent.scripted.script import Script, next_step
from agency.agent.scripted.wire import MODEL, answer, events, read_talk
from agency.secrets import SecretValue
from agency.signals import stop_signals
from agency.web import Limits, carries_bearer, make_app, make_runner
from agency.web import listen as serve_on

LIMITS = Limits(body_bytes=8 * 1024 * 1024, shutdown_s=1.0, linger_s=1.0)

_log = logging.getLogger(__name__)


def build_app(script: Script, key: SecretValue | None = None) -> web.Application:
    """Build the application; with a key, only who has it is answered."""

    async def complete(request: web.Request) -> web.StreamResponse:
        if key is not None and not carries_bearer(request, key.reveal()):
            return _refuse(request, 401, "a valid key is needed")
        try:
            body = json.loads(await request.read())
            talk = read_talk(body["messages"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return _refuse(request, 400, "the body is no request of chat completions")
        step, number = next_step(script, talk), talk.answered + 1
        if not body.get("stream"):
            return web.json_response(answer(step, body, number))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in events(step, body, number):
            await response.write(event)
        return response

    async def models(request: web.Request) -> web.StreamResponse:
        if key is not None and not carries_bearer(request, key.reveal()):
            return _refuse(request, 401, "a valid key is needed")
        one = {"id": MODEL, "object": "model", "created": 0, "owned_by": "a script"}
        return web.json_response({"object": "list", "data": [one]})

    app = make_app(LIMITS, _refuse)
    app.router.add_post("/v1/chat/completions", complete)
    app.router.add_get("/v1/models", models)
    return app


@asynccontextmanager
async def serving(
    script: Script, listening: socket.socket, key: SecretValue | None = None
) -> AsyncIterator[None]:
    """Serve on a listening socket until the block ends."""
    runner = make_runner(build_app(script, key), LIMITS)
    await runner.setup()
    try:
        await serve_on(runner, listening)
        yield
    finally:
        await runner.cleanup()


async def serve(script: Script, listening: socket.socket, key: SecretValue | None) -> None:
    """Serve until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    for number in stop_signals():
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with serving(script, listening, key):
        host, port = listening.getsockname()[:2]
        _log.info("a scripted model listens", extra={"fields": {"url": f"http://{host}:{port}"}})
        await stopping.wait()


def _refuse(_: web.Request, status: int, reason: str) -> web.Response:
    error: dict[str, Any] = {"message": reason, "type": "scripted", "code": status}
    return web.json_response({"error": error}, status=status)
