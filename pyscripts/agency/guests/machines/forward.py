"""Reaching a port of a guest that has no network: bytes travel through a program run in it.

The listener is in this process, in its network namespace, on loopback; it ends with the block.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from agency.errors import AgencyError
from agency.guests.incus.client import Incus
from agency.guests.incus.execution import Command, Streams, chunks

_HOST = "127.0.0.1"
_CHUNK = 64 * 1024
_MAX_CONNECTIONS = 64
_RELAY = (Path(__file__).parent / "relay.py").read_text()


@contextlib.asynccontextmanager
async def forward(
    incus: Incus, name: str, port: int, *, uid: int, source: str | None = None
) -> AsyncIterator[int]:
    """Have a free loopback port of this machine lead to a loopback port of a guest.

    Beyond 64 connections, new ones wait. In the guest the connections are opened by `uid`, by
    which its firewall judges them; `source` is the address of its loopback that they come from.
    """
    room = asyncio.Semaphore(_MAX_CONNECTIONS)
    argv = ("python3", "-I", "-c", _RELAY, _HOST, str(port), *((source,) if source else ()))
    command = Command(argv, uid=uid, gid=uid)
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # A broken connection is the client's to see, as it would be without us between.
            with contextlib.suppress(AgencyError, ConnectionError):
                async with room, incus.streams(name, command) as streams:
                    await _splice(reader, writer, streams)
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    server = await asyncio.start_server(accept, _HOST, 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        ending = [*serving]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        await server.wait_closed()


async def _splice(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, streams: Streams
) -> None:
    async def upstream() -> None:
        while data := await reader.read(_CHUNK):
            await streams.write(data)
        await streams.end_input()

    sending = asyncio.create_task(upstream())
    try:
        async for chunk in chunks(streams.stdout):
            writer.write(chunk)
            await writer.drain()
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
