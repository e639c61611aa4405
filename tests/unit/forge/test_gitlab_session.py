"""The session under python-gitlab: bounds that requests does not have."""

from __future__ import annotations

import asyncio

import pytest
import requests

from agency.forge.gitlab.session import BoundedSession


@pytest.fixture
async def raw():
    """Answers one request with raw bytes, slowly if asked to."""

    async def serve(head: str, *parts: bytes, pause_s: float = 0.0):
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 200 OK\r\n{head}\r\n".encode())
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause_s)
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    servers: list[asyncio.Server] = []
    yield serve
    for server in servers:
        server.close()


async def get(url: str, **options) -> requests.Response:
    def call() -> requests.Response:
        with BoundedSession(**options) as session:
            return session.get(url, timeout=5)

    return await asyncio.to_thread(call)


async def test_an_answer_is_read_whole(raw):
    url = await raw("Content-Length: 4\r\n", b'{"', b'"}'[:2])
    answer = await get(url)
    assert (answer.status_code, answer.content) == (200, b'{""}')


async def test_an_answer_that_drips_is_cut_off(raw):
    url = await raw("", *[b" "] * 100, pause_s=0.05)
    with pytest.raises(requests.Timeout, match="does not end"):
        await get(url, longest_answer_s=0.3)


@pytest.mark.parametrize(
    ("head", "kept"),
    [
        ("Retry-After: 7\r\n", {"Retry-After": "7"}),
        ("Retry-After: 86400\r\n", {"Retry-After": "30"}),
        ("Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n", {}),
        ("RateLimit-Reset: 99999999999\r\n", {}),
    ],
)
async def test_no_pause_is_without_end(raw, head, kept):
    answer = await get(await raw(f"Content-Length: 0\r\n{head}"))
    told = {k: v for k, v in answer.headers.items() if k in ("Retry-After", "RateLimit-Reset")}
    assert told == kept
