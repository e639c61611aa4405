"""End of a program whose pipes asyncio reads.

asyncio's `Process.wait` returns when the program has ended and its pipes have. It stops to read a
pipe that is full, and never learns of its end: who reads no more must drop the rest while waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

_CHUNK = 1024 * 1024
_LOOK_S = 0.01
# What a program left behind may hold its pipes for as long as it likes.
_PIPES_S = 2.0


@contextlib.asynccontextmanager
async def dropped(process: asyncio.subprocess.Process) -> AsyncIterator[None]:
    """Read and drop what a program still writes, for the length of the block.

    A stream that somebody reads still is left to them.
    """
    rest = [asyncio.create_task(_drop(each)) for each in (process.stdout, process.stderr)]
    try:
        yield
    finally:
        for each in rest:
            each.cancel()
        await asyncio.gather(*rest, return_exceptions=True)


async def ended(process: asyncio.subprocess.Process) -> int:
    """Wait for the end of a program that was killed, and drop its output; return its status."""
    async with dropped(process):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PIPES_S):
                return await process.wait()
        while (status := process.returncode) is None:  # noqa: ASYNC110 - asyncio tells by wait alone
            await asyncio.sleep(_LOOK_S)
        return status


async def _drop(stream: asyncio.StreamReader | None) -> None:
    while stream is not None and await stream.read(_CHUNK):
        pass
