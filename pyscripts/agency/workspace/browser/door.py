"""Door of the browser: a Unix socket at which one tool server at a time drives it, by WebSocket.

Only the agent's own user is let in, also where the directory would let others.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import WSMsgType, web

from agency.errors import PrerequisiteError
from agency.files import private_directory
from agency.unix_sockets import listen_at
from agency.web import peer_uid
from agency.workspace.browser.pipe import MAX_MESSAGE, BrowserError, Pipe
from agency.workspace.browser.relay import Client, begin, end

_TAKEN_S = 5.0  # for the one before, whose process just ended
_UP_S = 20.0  # for a browser that is just started again; Playwright waits 30 s
_SEND_S = 10.0  # for a tool server that does not read

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Door:
    """Door to whichever browser runs; `opened` and `closed` tell it of one."""

    _pipe: Pipe | None = None
    _up: asyncio.Event = field(default_factory=asyncio.Event)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _client: Client | None = None
    _ws: web.WebSocketResponse | None = None
    _cut: Callable[[], None] | None = None  # the connection of who drives it

    @property
    def is_open(self) -> bool:
        """Return whether a browser is behind it."""
        return self._up.is_set()

    def opened(self, pipe: Pipe) -> None:
        """Take a browser that runs."""
        self._pipe = pipe
        self._up.set()

    async def closed(self) -> None:
        """Let go of the browser, and of who drives it."""
        self._up.clear()
        self._pipe, ws = None, self._ws
        if ws is not None:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(_SEND_S):
                    await ws.close(code=1001, message=b"the browser ended")

    async def pump(self, pipe: Pipe) -> None:
        """Hand on what the browser says, until it is gone.

        Raises:
            BrowserError: it sent what is no message.
        """
        async for message in pipe.messages():
            client, ws = self._client, self._ws
            told = None if client is None else client.to_client(message)
            if told is None or ws is None or ws.closed:
                continue
            try:
                async with asyncio.timeout(_SEND_S):
                    await ws.send_str(json.dumps(told))
            except (OSError, TimeoutError):
                self._client = None  # it does not read; what comes is nobody's
                _log.warning("a tool server that does not read is cut off")
                if self._cut is not None:
                    self._cut()

    async def enter(self, request: web.Request) -> web.StreamResponse:
        """Serve one tool server, as long as it and the browser are there."""
        if peer_uid(request) != os.geteuid():
            raise web.HTTPForbidden(text="the browser is another user's")
        async with self._alone():
            pipe = await self._browser()
            ws = web.WebSocketResponse(max_msg_size=MAX_MESSAGE, autoping=True)
            await ws.prepare(request)
            client: Client | None = None
            try:
                self._client = client = await begin(pipe)
                self._ws = ws
                self._cut = None if request.transport is None else request.transport.abort
                await _converse(ws, client)
            except BrowserError as error:
                _log.info("a tool server lost the browser: %s", error.message)
            finally:
                self._client = self._ws = self._cut = None
                if client is not None and self._pipe is pipe:
                    with contextlib.suppress(BrowserError):
                        await end(client)
                await ws.close()
            return ws

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(_TAKEN_S):
                await self._turn.acquire()
        except TimeoutError:
            raise web.HTTPConflict(text="another tool server drives the browser") from None
        try:
            yield
        finally:
            self._turn.release()

    async def _browser(self) -> Pipe:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_UP_S):
                await self._up.wait()
        if self._pipe is None:
            raise web.HTTPServiceUnavailable(text="the browser does not run")
        return self._pipe


async def _converse(ws: web.WebSocketResponse, client: Client) -> None:
    """Hand on what the tool server says, until it goes; what is no command ends it."""
    async for said in ws:
        if said.type is not WSMsgType.TEXT:
            return
        try:
            message = json.loads(said.data)
        except (ValueError, RecursionError):
            return
        if not isinstance(message, dict):
            return
        refused = client.refusal(message)
        if refused is None:
            await client.pipe.send(client.to_browser(message))
        else:
            await ws.send_str(json.dumps(refused))


def listen_beside(path: Path) -> socket.socket:
    """Listen at a path, in a directory that this user alone may write; an old socket gives way.

    Raises:
        PrerequisiteError: the place cannot be used.
    """
    hint = "make its directory, for the agent's user alone to write"
    try:
        private_directory(path.parent)
    except OSError as error:
        raise PrerequisiteError(
            f"cannot listen: {error.strerror or error}", where=str(path), hint=hint
        ) from error
    return listen_at(path, hint=hint)


@asynccontextmanager
async def serving(door: Door, listening: socket.socket) -> AsyncIterator[None]:
    """Serve the door until the block ends."""
    app = web.Application()
    app.router.add_get("/{any:.*}", door.enter)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.SockSite(runner, listening).start()
        yield
    finally:
        await runner.cleanup()
