"""Live logs: server-sent events of what is added to a log, from any byte on.

    file ─▶ read_raw ─▶ whole characters and sequences ─▶ spans ─▶ event `log`, id: next byte

`restart` tells that the file is another one, or shorter; `changed` that the run has other logs now;
`end` that nothing more comes. A client that reconnects sends the last id, and misses nothing.

Source: HTML Living Standard, "Server-sent events".
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from aiohttp import hdrs, web

from agency.recipes.dashboard.files import NoFileError, RunFiles
from agency.recipes.dashboard.logs.ansi import Style, spans, whole
from agency.recipes.dashboard.logs.pieces import Raw, read_raw
from agency.web import Event, lift_answer_limit

LAST_EVENT_ID = "Last-Event-ID"
_MOST_OFFSET = 2**53
_RETRY = b"retry: 2000\n\n"
_HEARTBEAT = b": still here\n\n"


@dataclass(frozen=True, slots=True)
class Pace:
    """Bounds of a stream, in seconds and bytes; `hold_s` is how long half of a sequence waits."""

    poll_s: float = 0.25
    look_s: float = 1.0
    heartbeat_s: float = 15.0
    longest_s: float = 3600.0
    write_s: float = 10.0
    hold_s: float = 2.0
    most_bytes: int = 64 * 1024


@dataclass(slots=True)
class Streams:
    """The open streams of the server, bounded; `closing` ends them all."""

    most: int = 100
    pace: Pace = field(default_factory=Pace)
    open: int = 0
    refused: int = 0
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Count one stream for the length of a block.

        Raises:
            web.HTTPServiceUnavailable: there are too many.
        """
        if self.open >= self.most:
            self.refused += 1
            raise web.HTTPServiceUnavailable(
                reason="too many people follow logs now", headers={"Retry-After": "10"}
            )
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1


@dataclass(slots=True)
class Reader:
    """What a client has of a log: the next byte, and the style and the file that it stands in."""

    files: RunFiles
    log: str
    at: int
    inode: int | None = None
    held_since: float | None = None
    style: Style = field(default_factory=Style)

    def events(self, raw: Raw | None, now: float, pace: Pace, *, final: bool) -> list[Event]:
        """Make the events of what was read; `final` lets nothing wait for more."""
        if raw is None:
            return []
        made: list[Event] = []
        if raw.size < self.at or (self.inode is not None and raw.inode != self.inode):
            self.at, self.style, self.held_since = 0, Style(), None
            made.append(Event("", "restart", "0"))
            if raw.start:
                self.inode = raw.inode
                return made
        self.inode = raw.inode
        if length := self._length(raw.data, now, pace, final=final):
            parts = list(spans(raw.data[:length].decode(errors="replace"), self.style))
            self.at += length
            made.append(Event(json.dumps(parts, ensure_ascii=False), "log", str(self.at)))
        return made

    def _length(self, data: bytes, now: float, pace: Pace, *, final: bool) -> int:
        """Return how much to send: what is whole, and what waited for its rest too long."""
        length = whole(data)
        if length:
            self.held_since = None
        elif data:
            self.held_since = now if self.held_since is None else self.held_since
            if final or now - self.held_since >= pace.hold_s or len(data) >= pace.most_bytes:
                self.held_since = None
                return len(data)
        return length


def offset(request: web.Request) -> int | None:
    """Return the byte that a client asks for: its last event, else `from`; None for neither.

    Raises:
        web.HTTPBadRequest: it is no number of a byte.
    """
    asked = request.headers.get(LAST_EVENT_ID) or request.query.get("from")
    if not asked:
        return None
    if not asked.isascii() or not asked.isdecimal() or len(asked) > 16:
        raise web.HTTPBadRequest(reason="not the number of a byte")
    return min(int(asked), _MOST_OFFSET)


async def follow(
    request: web.Request, streams: Streams, reader: Reader, ended: Callable[[], Awaitable[bool]]
) -> web.StreamResponse:
    """Answer a request with a log from a byte on, until the run `ended` and all of it is sent.

    A heartbeat finds dead connections; a client that reads nothing for `write_s` is dropped.

    Raises:
        web.HTTPServiceUnavailable: too many are open.
    """
    with streams.opened():
        response = web.StreamResponse(
            headers={
                hdrs.CONTENT_TYPE: "text/event-stream",
                hdrs.CACHE_CONTROL: "no-store",
                "X-Accel-Buffering": "no",  # a proxy in front hands on each event at once
            }
        )
        lift_answer_limit()
        await response.prepare(request)
        try:
            await _Following(response, streams, reader, ended).run()
        except (TimeoutError, ConnectionError):
            request.protocol.force_close()
        return response


@dataclass(slots=True)
class _Following:
    response: web.StreamResponse
    streams: Streams
    reader: Reader
    ended: Callable[[], Awaitable[bool]]
    sent: float = 0.0

    async def run(self) -> None:
        loop, pace = asyncio.get_running_loop(), self.streams.pace
        began = looked = loop.time()
        logs = await self._logs()
        await self._write(_RETRY)
        over = await self.ended()
        while loop.time() - began < pace.longest_s and not self.streams.closing.is_set():
            if await self._send(final=over):
                continue
            if over:
                await self._write(Event("", "end").encoded())
                return
            now = loop.time()
            if now - looked >= pace.look_s:
                looked = now
                over = await self.ended()
                if not over and (seen := await self._logs()) != logs:
                    logs = seen
                    await self._write(Event("", "changed").encoded())
            if loop.time() - self.sent >= pace.heartbeat_s:
                await self._write(_HEARTBEAT)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.streams.closing.wait(), pace.poll_s)

    async def _send(self, *, final: bool) -> bool:
        """Send what there is now; return whether there was anything."""
        raw = await asyncio.to_thread(self._read)
        now = asyncio.get_running_loop().time()
        events = self.reader.events(raw, now, self.streams.pace, final=final)
        for event in events:
            await self._write(event.encoded())
        return bool(events)

    def _read(self) -> Raw | None:
        reader = self.reader
        try:
            return read_raw(reader.files, reader.log, reader.at, self.streams.pace.most_bytes)
        except NoFileError:  # it may come, and come back
            return None

    async def _logs(self) -> tuple[str, ...]:
        found = await asyncio.to_thread(self.reader.files.logs)
        return tuple(one.path for one in found)

    async def _write(self, data: bytes) -> None:
        async with asyncio.timeout(self.streams.pace.write_s):
            await self.response.write(data)
        self.sent = asyncio.get_running_loop().time()
