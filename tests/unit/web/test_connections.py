"""Connections are bounded before their requests are understood."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from agency.web import (
    CONNECTIONS,
    Bounds,
    Connections,
    Limits,
    QuietLog,
    as_json,
    listen,
    make_app,
    make_runner,
)

BOUNDS = Bounds(connections=4, head_bytes=2000, head_s=0.4, headers=5)
LIMITS = Limits(body_bytes=100_000, bounds=BOUNDS, linger_s=0.1, shutdown_s=0.1)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n"


@dataclass
class Served:
    port: int
    connections: Connections
    release: asyncio.Event = field(default_factory=asyncio.Event)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def open(self, sent: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(sent)
        self.writers.append(writer)  # one that nobody holds is closed
        return reader, writer


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    listening = socket.create_server(("127.0.0.1", 0))
    app = make_app(LIMITS, as_json)
    made = Served(listening.getsockname()[1], app[CONNECTIONS])

    async def slow(_request: web.Request) -> web.Response:
        await made.release.wait()
        return web.Response(text="done")

    async def quick(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    app.router.add_get("/", quick)
    app.router.add_post("/", quick)
    app.router.add_get("/slow", slow)
    runner = make_runner(app, LIMITS)
    await runner.setup()
    await listen(runner, listening)
    yield made
    made.release.set()
    await runner.cleanup()


async def read(reader: asyncio.StreamReader, seconds: float = 3) -> bytes:
    """Read until the connection ends."""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(seconds):
            return await reader.read()
    return b""


async def status(reader: asyncio.StreamReader) -> int:
    async with asyncio.timeout(3):
        return int((await reader.readline()).split()[1])


@pytest.mark.parametrize("sent", [b"", b"\r\n\r\n\r\n", GET, GET + b"A: b\r\n"])
async def test_connection_without_a_request_ends(served: Served, sent: bytes) -> None:
    reader, _ = await served.open(sent)
    assert await read(reader) == b""
    assert served.connections.counts.slow == 1
    assert len(served.connections) == 0


async def test_request_may_take_longer_than_its_head(served: Served) -> None:
    reader, _ = await served.open(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(BOUNDS.head_s * 2)
    served.release.set()
    assert await status(reader) == 200


@pytest.mark.parametrize("before", [b"", b"\r\n\r\n", b"\r\n" * 5])
@pytest.mark.parametrize("pieces", [1, 7])
async def test_head_is_bounded(served: Served, before: bytes, pieces: int) -> None:
    reader, writer = await served.open()
    head = before + GET + b"".join(b"X%d: %s\r\n" % (n, b"a" * 600) for n in range(4))
    size = len(head) // pieces + 1
    for start in range(0, len(head), size):
        writer.write(head[start : start + size])
        await asyncio.sleep(0.01)
    assert await read(reader) == b""
    assert served.connections.counts.large == 1


async def test_body_is_no_head(served: Served) -> None:
    body = b"x" * 50_000
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    reader, _ = await served.open(head + body)
    assert await status(reader) == 200


@pytest.mark.parametrize(("number", "wanted"), [(4, 200), (5, 431)])
async def test_headers_are_counted(served: Served, number: int, wanted: int) -> None:
    lines = b"".join(b"X%d: a\r\n" % n for n in range(number))
    reader, _ = await served.open(GET + lines + b"\r\n")
    assert await status(reader) == wanted


async def test_oldest_without_a_request_makes_room(served: Served) -> None:
    waiting = [await served.open() for _ in range(BOUNDS.connections)]
    await asyncio.sleep(0.05)
    reader, _ = await served.open(GET + b"\r\n")
    assert await status(reader) == 200
    assert await read(waiting[0][0], 0.2) == b""
    assert served.connections.counts.displaced == 1


async def test_longest_idle_makes_room_and_a_busy_one_does_not(served: Served) -> None:
    busy, _ = await served.open(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
    idle = []
    for _ in range(BOUNDS.connections - 1):
        idle.append(await served.open(GET + b"\r\n"))
        await idle[-1][0].readuntil(b"\r\n\r\n0")
    again = idle.pop(0)  # the first is used again, so the second is idle for longest
    again[1].write(GET + b"\r\n")
    await again[0].readuntil(b"\r\n\r\n0")
    reader, _ = await served.open(GET + b"\r\n")
    assert await status(reader) == 200
    assert await read(idle[0][0], 1) == b""
    served.release.set()
    assert await status(busy) == 200


async def test_while_all_are_busy_the_next_waits(served: Served) -> None:
    busy = [
        await served.open(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        for _ in range(BOUNDS.connections)
    ]
    await asyncio.sleep(0.05)
    reader, _ = await served.open(GET + b"\r\n")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await reader.readline()
    served.release.set()
    assert await status(reader) == 200
    assert [await status(each) for each, _ in busy] == [200] * len(busy)


def test_quiet_log_counts_what_it_leaves_out(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    quiet = QuietLog(logging.getLogger("quiet"), every_s=60, steady=lambda: now[0])
    for _ in range(5):
        quiet.warning("kind", "said")
    quiet.warning("other", "said too")
    now[0] = 61.0
    quiet.warning("kind", "said")
    assert [record.message for record in caplog.records] == ["said", "said too", "said"]
    assert caplog.records[-1].fields == {"left_out": 4}  # type: ignore[attr-defined]
    for number in range(1000):
        quiet.warning(f"kind-{number}", "many kinds")
    assert len(caplog.records) < 100, "the number of kinds is bounded, too"
