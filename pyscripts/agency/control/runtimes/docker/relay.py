"""Relay between the control plane and an agent that dials its runtime.

    control plane ──▶ front socket ── a request takes a line ──▶ lines socket ◀── agent
                      (NAME.sock, in a closed directory)          (NAME/acp.sock, mounted)

The agent cannot open the front, nor put anything in either place. Whatever it sends, the control
plane reads it as an answer on a line of this agent alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections import deque
from pathlib import Path

from agency.control.runtimes.docker.container import LINES_SOCKET
from agency.control.runtimes.handover import cannot_write
from agency.piping import Line, both_ways

MAX_LINES = 16
MAX_REQUESTS = 32
_LINE_WAIT_S = 2.0
_BACKLOG = 16

_log = logging.getLogger(__name__)


class Relay:
    """Two listening sockets of one agent, and the lines that wait between them.

    `directory` is the closed one of all agents; `directory/name` is what the agent's container
    mounts. `front` is the path to connect to, short enough for unix(7) while this relay is open.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._directory, self._name = directory, name
        self._lines: deque[Line] = deque()
        self._came = asyncio.Event()
        self._requests: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self._place: int | None = None

    @property
    def front(self) -> str | None:
        """The path of the front socket, or None while the relay is closed."""
        return None if self._place is None else f"/proc/self/fd/{self._place}/{self._name}.sock"

    async def open(self) -> None:
        """Listen on both sockets, in place of those of a predecessor; safe to repeat.

        Its caller sees to it that opening and closing do not overlap.

        Raises:
            PrerequisiteError: they cannot be made.
        """
        if self._place is not None:
            return
        place = os.open(self._directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            front = listen_below(place, f"{self._name}.sock", 0o600)
            self._servers.append(await asyncio.start_unix_server(self._ask, sock=front))
            # Its directory is closed on this machine; in the container another user connects.
            lines = listen_below(place, f"{self._name}/{LINES_SOCKET}", 0o666)
            self._servers.append(await asyncio.start_unix_server(self._keep, sock=lines))
        except OSError as error:
            await self.close()
            os.close(place)
            raise cannot_write(self._directory / self._name, error) from error
        self._place = place

    async def close(self) -> None:
        """End every connection and listen no more; safe to repeat."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        for request in [*self._requests]:
            request.cancel()
        await asyncio.gather(*self._requests, return_exceptions=True)
        while self._lines:
            self._lines.pop()[1].close()
        if self._place is not None:
            os.close(self._place)
            self._place = None

    async def _keep(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Let a line of the agent wait; those that ended make room."""
        self._drop_ended()
        if len(self._lines) >= MAX_LINES:
            writer.close()
            return
        self._lines.append((reader, writer))
        self._came.set()

    def _drop_ended(self) -> None:
        for line in [*self._lines]:
            if line[0].at_eof() or line[1].is_closing():
                self._lines.remove(line)
                line[1].close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass a connection of the control plane to a waiting line."""
        task = asyncio.current_task()
        assert task is not None
        if len(self._requests) >= MAX_REQUESTS:
            writer.close()
            return
        self._requests.add(task)
        try:
            async with asyncio.timeout(_LINE_WAIT_S):
                line_reader, line_writer = await self._take()
            with contextlib.closing(line_writer):
                await both_ways((reader, writer), (line_reader, line_writer))
        except TimeoutError:
            pass  # the agent does not dial: closed without an answer
        except asyncio.CancelledError:
            pass  # by `close`; asyncio's servers report a handler that ends so as a defect
        finally:
            self._requests.discard(task)
            writer.close()

    async def _take(self) -> Line:
        while True:
            self._drop_ended()
            if self._lines:
                return self._lines.popleft()
            self._came.clear()
            await self._came.wait()


def listen_below(place: int, name: str, mode: int) -> socket.socket:
    """Listen on a new socket below the directory of a descriptor, in place of an old one.

    The path through the descriptor has a length that unix(7) takes, wherever the directory is.
    """
    path = Path(f"/proc/self/fd/{place}/{name}")
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.bind(str(path))
        path.chmod(mode)
        made.listen(_BACKLOG)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made
