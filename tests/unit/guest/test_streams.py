"""The streams of a program in a guest: all that it said, or an error."""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from agency.guests.incus.errors import IncusError
from agency.guests.incus.execution import Command, chunks, open_streams
from agency.guests.incus.transport import Transport

Say = Callable[[web.WebSocketResponse], Awaitable[object]]


@asynccontextmanager
async def stream_of(say: Say) -> AsyncIterator[tuple[aiohttp.ClientWebSocketResponse, list[str]]]:
    """A stream that says something and is closed, and what the other side was answered."""
    answers: list[str] = []

    async def handle(request: web.Request) -> web.WebSocketResponse:
        stream = web.WebSocketResponse(autoping=False, autoclose=False)
        await stream.prepare(request)
        await say(stream)
        answers.extend([message.type.name async for message in stream])
        return stream

    app = web.Application()
    app.router.add_get("/", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, autoping=False) as stream,
        ):
            yield stream, answers
    finally:
        await runner.cleanup()


async def said(stream: aiohttp.ClientWebSocketResponse) -> bytes:
    return b"".join([chunk async for chunk in chunks(stream)])


async def whole(stream: web.WebSocketResponse) -> None:
    await stream.ping()
    await stream.send_bytes(b"all of ")
    await stream.send_bytes(b"it")
    await stream.send_str("")


async def test_a_stream_is_read_to_its_end_and_no_ping_is_answered() -> None:
    async with stream_of(whole) as (stream, answers):
        assert await said(stream) == b"all of it"
    assert "PONG" not in answers


async def half(stream: web.WebSocketResponse) -> None:
    await stream.send_bytes(b"half of ")


async def close(stream: web.WebSocketResponse) -> None:
    await stream.close()


async def cut(stream: web.WebSocketResponse) -> None:
    transport = stream._req.transport  # type: ignore[union-attr]
    assert transport is not None
    transport.abort()


@pytest.mark.parametrize("end", [close, cut])
async def test_a_stream_that_breaks_is_not_taken_for_a_whole_one(end: Say) -> None:
    async def broken(stream: web.WebSocketResponse) -> None:
        await half(stream)
        await end(stream)

    async with stream_of(broken) as (stream, _):
        with pytest.raises(ConnectionError, match="without saying so"):
            await said(stream)


async def test_a_secret_of_a_stream_is_in_no_error(tmp_path: Path) -> None:
    async def exec_(_: web.Request) -> web.Response:
        secrets = {key: f"hush-{key}" for key in ("control", "0", "1", "2")}
        operation = {"id": "op-1", "metadata": {"fds": secrets}}
        return web.json_response({"type": "async", "metadata": operation})

    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=404)

    app = web.Application()
    app.router.add_post("/1.0/instances/g/exec", exec_)
    app.router.add_get("/1.0/operations/op-1/websocket", refuse)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "s")).start()
    try:
        async with Transport(tmp_path / "s") as transport:
            with pytest.raises(IncusError, match="WSServerHandshakeError 404") as caught:
                async with open_streams(transport, "g", Command(("true",))):
                    pass
    finally:
        await runner.cleanup()
    assert "hush" not in "".join(traceback.format_exception(caught.value))
    assert caught.value.where == "g: true"
