"""Connections of a server, bounded before a request is understood.

    socket ──accept──▶ BoundedSite ──▶ _Guard (time and size of the first head) ──▶ aiohttp
                            │
             full: the oldest connection without a request ends, then the longest idle one;
                   while all are busy, nothing is accepted

aiohttp begins to count when a request's head is complete, so who sends none, or one that does not
end, must be ended here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from agency.web.quiet import QuietLog
from agency.web.relayed import RelayedProtocol

_log = logging.getLogger(__name__)

_HEAD_END = b"\r\n\r\n"
_ACCEPT_RETRY_S = 0.1
_BACKLOG = 128


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds of a server's connections; `head_bytes` and `head_s` are of the first request."""

    connections: int = 256
    head_bytes: int = 32 * 1024
    head_s: float = 10.0
    headers: int = 64


@dataclass(slots=True)
class Counts:
    """Number of connections since the start that ended or failed, by the reason."""

    slow: int = 0  # no complete request in time
    large: int = 0  # a head that is too large
    displaced: int = 0  # ended because there were too many
    accept_errors: int = 0


@dataclass(slots=True)
class Connections:
    """The open connections of a server, oldest first."""

    bounds: Bounds
    counts: Counts = field(default_factory=Counts)
    _open: dict[asyncio.BaseTransport, _Guard] = field(default_factory=dict)
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    def __len__(self) -> int:
        return len(self._open)

    def middleware(self) -> Middleware:
        """Make the middleware that tells which connections are busy, and counts headers."""

        @web.middleware
        async def tracked(request: web.Request, handler: Handler) -> web.StreamResponse:
            with self.answering(request):
                return await handler(request)

        return tracked

    @contextlib.contextmanager
    def answering(self, request: web.BaseRequest) -> Iterator[None]:
        """Take a request's connection for busy during a block.

        Raises:
            HTTPRequestHeaderFieldsTooLarge: it has too many headers.
        """
        guard = None if request.transport is None else self._open.get(request.transport)
        if guard is not None:
            guard.begin()
        try:
            if len(request.raw_headers) > self.bounds.headers:
                raise web.HTTPRequestHeaderFieldsTooLarge
            yield
        finally:
            if guard is not None:
                guard.busy = False
                self._again(guard)

    def _again(self, guard: _Guard) -> None:
        """Put a connection whose request ended behind the others, as the least idle one."""
        if guard.transport is not None and self._open.pop(guard.transport, None) is not None:
            self._open[guard.transport] = guard
        self._ended.set()

    def guarded(self, make: Callable[[], asyncio.Protocol]) -> Callable[[], asyncio.Protocol]:
        """Make the factory of guarded protocols."""
        return lambda: _Guard(self, make())

    def added(self, guard: _Guard, transport: asyncio.BaseTransport) -> None:
        """Note a connection that was made."""
        self._open[transport] = guard

    def removed(self, transport: asyncio.BaseTransport | None) -> None:
        """Note a connection that was lost."""
        if transport is not None:
            self._open.pop(transport, None)
        self._ended.set()

    async def make_room(self) -> None:
        """Return when there is room for one more connection; end one that does nothing."""
        while len(self._open) >= self.bounds.connections:
            guards = list(self._open.values())
            waiting = [each for each in guards if not each.begun]
            idle = [each for each in guards if not each.busy]
            if found := next(iter(waiting or idle), None):
                self.counts.displaced += 1
                found.abort()
                return
            self._ended.clear()
            await self._ended.wait()


class _Guard(RelayedProtocol):
    """One connection: hands everything on, and ends it if no request begins within the bounds."""

    def __init__(self, connections: Connections, inner: asyncio.Protocol) -> None:
        super().__init__(inner)
        self.transport: asyncio.Transport | None = None
        self.begun = self.busy = False
        self._connections = connections
        self._received, self._tail, self._head_ended = 0, b"", False
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Note that a request has begun: from here on the application's limits hold."""
        self.begun = self.busy = True
        if self._timer is not None:
            self._timer.cancel()

    def abort(self) -> None:
        """End the connection at once."""
        self._connections.removed(self.transport)
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # asyncio: a stream's always is
        self.transport = transport
        self._connections.added(self, transport)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._connections.bounds.head_s, self._too_slow)
        super().connection_made(transport)

    def _too_slow(self) -> None:
        self._connections.counts.slow += 1
        self.abort()

    def data_received(self, data: bytes) -> None:
        if not self._head_ended and not self.begun and not self._fits(data):
            self._connections.counts.large += 1
            self.abort()
            return
        super().data_received(data)

    def _fits(self, data: bytes) -> bool:
        """Count what comes before the head's end, behind the line breaks that may precede it."""
        text = self._tail + data if self._tail else data.lstrip(b"\r\n")
        end = text.find(_HEAD_END)
        self._head_ended = end >= 0
        self._received += len(data) if end < 0 else min(len(data), end)
        self._tail = text[-len(_HEAD_END) + 1 :] if text else b""
        return self._received <= self._connections.bounds.head_bytes

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._connections.removed(self.transport)
        super().connection_lost(error)


class BoundedSite(web.BaseSite):
    """Listener on a socket, which it closes at its end, with bounded connections."""

    def __init__(
        self, runner: web.BaseRunner, listening: socket.socket, connections: Connections
    ) -> None:
        super().__init__(runner)
        self._made = runner
        self._socket, self._connections = listening, connections
        self._accepting: asyncio.Task[None] | None = None
        self._errors = QuietLog(_log)

    @property
    def name(self) -> str:
        """Address of the socket."""
        return str(self._socket.getsockname())

    async def start(self) -> None:
        """Begin to accept connections."""
        await super().start()
        self._socket.setblocking(False)
        self._socket.listen(_BACKLOG)
        self._accepting = asyncio.create_task(self._accept(), name="accept")

    async def stop(self) -> None:
        """Accept no more connections; the open ones go on."""
        if self._accepting is not None:
            self._accepting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._accepting
        self._socket.close()
        await super().stop()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        assert self._made.server is not None  # the runner was set up before its site
        factory = self._connections.guarded(self._made.server)
        while True:
            try:
                accepted, _ = await loop.sock_accept(self._socket)
            except OSError as error:  # too many open files, or the client is gone
                self._connections.counts.accept_errors += 1
                self._errors.warning("accept", "cannot accept connections: %s", error.strerror)
                await asyncio.sleep(_ACCEPT_RETRY_S)
                continue
            try:
                await self._connections.make_room()
                await loop.connect_accepted_socket(factory, accepted)
            except OSError:
                self._connections.counts.accept_errors += 1
                accepted.close()
            except BaseException:
                accepted.close()
                raise
