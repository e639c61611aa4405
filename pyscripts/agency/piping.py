"""Copying between two connections, in both ways, until either ends."""

from __future__ import annotations

import asyncio
import contextlib

Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_CHUNK = 64 * 1024


async def both_ways(one: Line, other: Line) -> None:
    """Copy between two connections until either ends; their writers stay the caller's to close."""
    ways = [
        asyncio.create_task(_copy(one[0], other[1])),
        asyncio.create_task(_copy(other[0], one[1])),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
