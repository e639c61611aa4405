"""Relay from a port that its holder never lets go to a service that listens on a unix socket.

    client ──▶ port, held by this process ──▶ unix socket in the run's directory ──▶ service

While the service restarts, a request waits, and after a while is answered 503; nobody else can have
the port. The client's address is told in X-Forwarded-For, and what a client says of its own address
is dropped. The relay runs in a thread of its own: whatever the program does meanwhile, the
homeserver can be asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import HttpVersion11, hdrs, web
from multidict import CIMultiDict
from yarl import URL

from agency.web import BoundedSite, Bounds, Connections, http_log

_POLL_S = 0.02
_CLOSE_S = 5.0
_LINE_BYTES = 16 * 1024
_SHUTDOWN_S = 0.5
# RFC 9110, 7.6.1: of one connection, not of the message. The body is framed anew.
_HOP = frozenset(
    each.lower()
    for each in (
        *(hdrs.CONNECTION, hdrs.KEEP_ALIVE, hdrs.PROXY_AUTHENTICATE, hdrs.PROXY_AUTHORIZATION),
        *(hdrs.TE, hdrs.TRAILER, hdrs.TRANSFER_ENCODING, hdrs.UPGRADE, "Proxy-Connection"),
    )
)
_CLAIMS = frozenset(("forwarded", "x-real-ip", "expect"))
_CLAIMS_PREFIX = "x-forwarded-"


@dataclass(slots=True)
class Relay:
    """Relay of one HTTP service; `path` is its unix socket, in a directory that exists.

    Attributes:
        wait_s: How long a request waits for the service before it is answered 503.
        most: Connections at one time; for one more, the oldest that does nothing is closed.
        head_s: How long a connection may take to its first request.
    """

    listening: socket.socket
    path: Path
    wait_s: float = 10.0
    most: int = 512
    head_s: float = 10.0
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _over: asyncio.Event = field(default_factory=asyncio.Event)
    _thread: threading.Thread | None = None
    _directory: int = -1

    def start(self) -> None:
        """Begin to relay; does nothing if it has begun."""
        if self._thread is None:
            # By its directory's descriptor: the path of a socket is at most 107 bytes, unix(7).
            self._directory = os.open(self.path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End every connection; the caller's socket stays as it is. Safe to repeat."""
        if self._thread is not None:
            with contextlib.suppress(RuntimeError):  # its loop has ended by itself
                self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(_CLOSE_S)
            self._thread = None
            os.close(self._directory)
        if not self._loop.is_running():
            self._loop.close()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        connector = aiohttp.UnixConnector(
            f"/proc/self/fd/{self._directory}/{self.path.name}", force_close=True, limit=self.most
        )
        session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            max_line_size=_LINE_BYTES,
            max_field_size=_LINE_BYTES,
        )

        connections = Connections(Bounds(connections=self.most, head_s=self.head_s))

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            with connections.answering(request):
                return await self._relay(session, request)

        server = web.Server(
            answer,
            handler_cancellation=True,
            access_log=None,
            logger=http_log(),
            max_line_size=_LINE_BYTES,
            max_field_size=_LINE_BYTES,
        )
        runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_S)
        await runner.setup()
        # A copy: the port stays with its holder when this server closes its socket.
        await BoundedSite(runner, self.listening.dup(), connections).start()
        await self._over.wait()
        await runner.cleanup()
        await session.close()

    async def _relay(
        self, session: aiohttp.ClientSession, request: web.BaseRequest
    ) -> web.StreamResponse:
        target = _target(request.raw_path)
        if target is None:
            return web.json_response({"errcode": "M_UNRECOGNIZED", "error": "no path"}, status=400)
        begun = False
        try:
            await _let_go_on(request)
            reached = await self._ask(session, request, target)
            if reached is None:
                return _unavailable()
            async with reached as told:
                answer = web.StreamResponse(status=told.status, reason=told.reason)
                answer.headers.extend(_end_to_end(told.headers))
                await answer.prepare(request)
                begun = True
                async for chunk in told.content.iter_any():
                    await answer.write(chunk)
                await answer.write_eof()
                return answer
        except aiohttp.ClientError:
            if begun:  # the client must not take what it got for the whole
                raise ConnectionResetError from None
            return _unavailable()

    async def _ask(
        self, session: aiohttp.ClientSession, request: web.BaseRequest, target: URL
    ) -> aiohttp.ClientResponse | None:
        """Ask the service, as soon as it listens; None if it does not in time."""
        headers = _end_to_end(request.headers)
        for name in [each for each in headers if _is_claim(each)]:
            headers.popall(name, None)
        headers["X-Forwarded-For"] = request.remote or "127.0.0.1"
        headers["X-Forwarded-Proto"] = "http"
        deadline = self._loop.time() + self.wait_s
        while True:
            try:
                return await session.request(
                    request.method,
                    target,
                    headers=headers,
                    data=request.content if request.body_exists else None,
                    allow_redirects=False,
                    skip_auto_headers=(hdrs.USER_AGENT, hdrs.CONTENT_TYPE, hdrs.ACCEPT_ENCODING),
                )
            except aiohttp.ClientConnectorError:  # before anything of the request was sent
                if self._loop.time() > deadline:
                    return None
                await asyncio.sleep(_POLL_S)


def _target(raw_path: str) -> URL | None:
    """Return where a request goes: its target as it stands; None if it has no path.

    Source: RFC 9112, 3.2. The name of another server in it is not followed.
    """
    path = raw_path
    if path.lower().startswith("http://"):
        authority, slash, rest = path[len("http://") :].partition("/")
        if "?" in authority:
            return None
        path = f"/{rest}" if slash else "/"
    if not path.startswith("/"):
        return None
    path, _, query = path.partition("?")
    return URL.build(scheme="http", host="service", path=path, query_string=query, encoded=True)


async def _let_go_on(request: web.BaseRequest) -> None:
    """Tell a client that waits with its body to send it. Source: RFC 9110, 10.1.1."""
    expects = request.headers.get(hdrs.EXPECT, "").lower() == "100-continue"
    if expects and request.version >= HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # of the answer alone


def _end_to_end(headers: CIMultiDict[str] | aiohttp.typedefs.LooseHeaders) -> CIMultiDict[str]:
    kept = CIMultiDict(headers)
    lists = kept.getall(hdrs.CONNECTION, [])
    named = {each.strip().lower() for one in lists for each in one.split(",")}
    for name in [each for each in kept if each.lower() in _HOP | named]:
        kept.popall(name, None)
    return kept


def _is_claim(header: str) -> bool:
    return header.lower() in _CLAIMS or header.lower().startswith(_CLAIMS_PREFIX)


def _unavailable() -> web.Response:
    body = {"errcode": "M_UNKNOWN", "error": "the homeserver is starting; try again"}
    return web.json_response(body, status=503, headers={hdrs.RETRY_AFTER: "2"})
