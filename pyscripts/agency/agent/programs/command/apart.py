"""Run of a command-line agent that is kept apart: in another container or unit, as another user.

task ─▶ host (hosting.py) ─▶ agent ─▶ 127.0.0.1:PORT, of its network ── accepted here ──▶ a way
                               └────▶ output
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from agency.agent.programs.command.handing import HandingError, Packet, make_socket, receive, send
from agency.errors import AgencyError
from agency.piping import Line, both_ways
from agency.unix_sockets import short_path

_MAX_CONNECTIONS = 32
_CONNECT_S, _POLL_S = 30.0, 0.1  # its host may be about to start
_WAY_S = 5.0
_CHUNK = 64 * 1024

Way = Callable[[], Awaitable[Line]]  # opens a connection


class ApartError(AgencyError):
    """Run that ended without an exit status."""


async def run_apart(
    place: Path, model: str, task: str, ways: Sequence[Way], bounds: tuple[int, int]
) -> tuple[int, bytes, bytes]:
    """Run the agent to its end; return its exit status, output and errors.

    `ways` lead to the proxy and to the gateway; `bounds` are the most bytes of output and errors.

    Raises:
        AgencyError: nothing was started, or it ended without a status, or says too much.
    """
    async with AsyncExitStack() as stack:
        there = stack.enter_context(await _connected(place))
        given, output, errors = (_Pipe(outward=each) for each in (True, False, False))
        for pipe in (given, output, errors):
            stack.callback(pipe.close)
        try:
            send(there, {"model": model}, (given.theirs, output.theirs, errors.theirs))
            for pipe in (given, output, errors):
                pipe.hand_over()
            ready = await receive(there)
            stack.callback(ready.close)
            if "error" in ready.told:
                raise _refused(ready.told)
            await _open(stack, ready, ways)
            reads = output.read(bounds[0]), errors.read(bounds[1])
            said, complained, end, _ = await _all(*reads, receive(there), given.write(task))
        except HandingError as error:
            raise ApartError(f"its host ended: {error}", where=str(place)) from error
        end.close()
    status = end.told.get("status")
    if not isinstance(status, int):
        raise _refused(end.told)
    return status, said, complained


async def _all(*parts: Coroutine[Any, Any, Any]) -> list[Any]:
    """Wait for all; after a failure, or cancelled, none of them runs on."""
    tasks = [asyncio.ensure_future(each) for each in parts]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _refused(told: dict[str, Any]) -> ApartError:
    return ApartError(f"it was not started: {str(told.get('error'))[:500]}")


async def _connected(place: Path) -> socket.socket:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _CONNECT_S
    while True:
        made = make_socket()
        try:
            with short_path(place) as name:
                await loop.sock_connect(made, name)
        except OSError as error:
            made.close()
            if loop.time() > deadline:
                raise ApartError(
                    f"its host is not there: {error.strerror}",
                    where=str(place),
                    hint="look at the log of the agent's part that runs the command",
                ) from error
            await asyncio.sleep(_POLL_S)
        else:
            return made


async def _open(stack: AsyncExitStack, ready: Packet, ways: Sequence[Way]) -> None:
    """Accept at the agent's ports, and lead each connection on its way."""
    if len(ready.descriptors) != len(ways):
        raise HandingError("it opened no ports")
    free = asyncio.Semaphore(_MAX_CONNECTIONS)
    for descriptor, way in zip(ready.descriptors, ways, strict=True):
        try:
            made = socket.socket(fileno=os.dup(descriptor))
            server = await asyncio.start_server(partial(_pass, way, free), sock=made)
        except (OSError, ValueError) as error:
            raise HandingError(f"it opened no ports: {error}") from error
        stack.callback(server.close)


async def _pass(
    way: Way, free: asyncio.Semaphore, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    with contextlib.closing(writer):
        if free.locked():
            return  # as many are open as it may have
        async with free:
            try:
                async with asyncio.timeout(_WAY_S):
                    there = await way()
            except (OSError, TimeoutError):
                return  # closed without an answer, as by a server that is away
            with contextlib.closing(there[1]):
                await both_ways((reader, writer), there)


class _Pipe:
    """Pipe with one end here and one that is handed over."""

    def __init__(self, *, outward: bool) -> None:
        read, write = os.pipe2(os.O_CLOEXEC)
        self._here, self.theirs = (write, read) if outward else (read, write)
        self._open = [self._here, self.theirs]

    def hand_over(self) -> None:
        """Close the end that the other side has now."""
        self._open.remove(self.theirs)
        os.close(self.theirs)

    def close(self) -> None:
        """Close what is open."""
        while self._open:
            os.close(self._open.pop())

    async def read(self, most: int) -> bytes:
        """Read to the end; raises ApartError beyond a bound."""
        kept = bytearray()
        async with self._reader() as reader:
            while chunk := await reader.read(_CHUNK):
                kept += chunk
                if len(kept) > most:
                    raise ApartError(f"it wrote more than {most} bytes")
        return bytes(kept)

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[asyncio.StreamReader]:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(self._taken(), "rb", 0)
        )
        with contextlib.closing(transport):
            yield reader

    async def write(self, text: str) -> None:
        """Write a text, and end; a reader that is gone is no failure."""
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.connect_write_pipe(
            asyncio.streams.FlowControlMixin, os.fdopen(self._taken(), "wb", 0)
        )
        writer = asyncio.StreamWriter(transport, protocol, None, loop)
        with contextlib.closing(writer), contextlib.suppress(OSError):
            writer.write(text.encode(errors="replace"))
            await writer.drain()

    def _taken(self) -> int:
        self._open.remove(self._here)
        return self._here
