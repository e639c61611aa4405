"""Server-sent events with bounds: on listeners, on each one's queue, and on how long one stays.

    publish --> one queue a listener --> send_events --> an open response
                (full: the listener is dropped; it reconnects and asks for what it missed)

Source: HTML Living Standard, "Server-sent events".
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web

from agency.web.app import lift_answer_limit

_HEARTBEAT = b": still here\n\n"


@dataclass(frozen=True, slots=True)
class Event:
    """One event; `id` is the Last-Event-ID that a client sends when it reconnects."""

    data: str
    kind: str = "message"
    id: str = ""

    def encoded(self) -> bytes:
        """Encode the event in the wire format.

        Raises:
            ValueError: a line break in `kind` or `id`, which would inject further fields.
        """
        if any(sign in value for value in (self.kind, self.id) for sign in "\r\n\0"):
            raise ValueError("a line break in an event's kind or id")
        head = f"event: {self.kind}\n" + (f"id: {self.id}\n" if self.id else "")
        text = self.data.replace("\r\n", "\n").replace("\r", "\n")
        lines = "".join(f"data: {line}\n" for line in text.split("\n"))
        return f"{head}{lines}\n".encode()


@dataclass(slots=True)
class Broadcast:
    """Listeners of one stream of events; a slow reader never delays the others."""

    max_listeners: int = 100
    max_waiting: int = 100
    _queues: set[asyncio.Queue[Event | None]] = field(default_factory=set)

    def publish(self, event: Event) -> None:
        """Hand an event to every listener; drop a listener whose queue is full."""
        for queue in list(self._queues):
            if queue.qsize() < self.max_waiting:
                queue.put_nowait(event)
            else:
                self._queues.discard(queue)
                queue.put_nowait(None)  # there is room for the end: see `_listening`

    def close(self) -> None:
        """Drop every listener, when the server stops."""
        for queue in list(self._queues):
            self._queues.discard(queue)
            queue.put_nowait(None)

    @property
    def listeners(self) -> int:
        """Number of listeners."""
        return len(self._queues)

    @contextmanager
    def listening(self) -> Iterator[asyncio.Queue[Event | None]]:
        """Yield a queue of events; None in the queue marks the end.

        Raises:
            web.HTTPServiceUnavailable: there are too many listeners.
        """
        if len(self._queues) >= self.max_listeners:
            raise web.HTTPServiceUnavailable(
                reason="too many listeners", headers={"Retry-After": "10"}
            )
        queue: asyncio.Queue[Event | None] = asyncio.Queue(self.max_waiting + 1)
        self._queues.add(queue)
        try:
            yield queue
        finally:
            self._queues.discard(queue)


async def send_events(
    request: web.Request,
    broadcast: Broadcast,
    *,
    heartbeat_s: float = 15.0,
    longest_s: float = 3600.0,
    write_s: float = 10.0,
) -> web.StreamResponse:
    """Answer a request with the events from now on, for `longest_s` at most.

    A heartbeat finds dead connections; a client that reads nothing for `write_s` is dropped.
    """
    with broadcast.listening() as queue:
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        lift_answer_limit()
        loop = asyncio.get_running_loop()
        end = loop.time() + longest_s
        await response.prepare(request)
        while (left := end - loop.time()) > 0:
            try:
                async with asyncio.timeout(min(heartbeat_s, left)):
                    event = await queue.get()
            except TimeoutError:
                data = _HEARTBEAT
            else:
                if event is None:
                    break
                data = event.encoded()
            try:
                async with asyncio.timeout(write_s):
                    await response.write(data)
            except (TimeoutError, ConnectionError):
                request.protocol.force_close()
                break
        return response
