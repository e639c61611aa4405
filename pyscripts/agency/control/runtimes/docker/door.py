"""Door of a container: a Unix socket that leads to one server of this machine or network.

    program in its container ──▶ NAME.rooms/homeserver.sock ── door ──▶ homeserver
                             ──▶ NAME.rooms/models.sock     ── door ──▶ metering proxy

A container without a network reaches these and no others. Whoever may pass there is decided by
tokens, as on the servers' own ports.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from agency.control.runtimes.docker.relay import listen_below
from agency.control.runtimes.handover import cannot_write
from agency.piping import Line, both_ways

MAX_CONNECTIONS = 32
_CONNECT_S = 5.0
_MODE = 0o666  # its directory is closed on this machine; in the container another user connects

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Door:
    """Door at `directory/name` to the server of `url`; with https, it speaks TLS to that."""

    directory: Path
    name: str
    url: str
    _server: asyncio.Server | None = None
    _open: set[asyncio.Task[None]] = field(default_factory=set)

    async def open(self) -> None:
        """Listen, in place of a predecessor; safe to repeat.

        Raises:
            PrerequisiteError: the socket cannot be made.
        """
        if self._server is not None:
            return
        try:
            place = os.open(self.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                made = listen_below(place, self.name, _MODE)
            finally:
                os.close(place)
            self._server = await asyncio.start_unix_server(self._pass, sock=made)
        except OSError as error:
            raise cannot_write(self.directory / self.name, error) from error

    async def close(self) -> None:
        """End every connection and listen no more; safe to repeat."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for each in [*self._open]:
            each.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        (self.directory / self.name).unlink(missing_ok=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._open) >= MAX_CONNECTIONS:
            writer.close()
            return
        self._open.add(task)
        try:
            async with asyncio.timeout(_CONNECT_S):
                there = await self._connect()
            with contextlib.closing(there[1]):
                await both_ways((reader, writer), there)
        except (
            OSError,
            TimeoutError,
        ) as error:  # closed without an answer; the program tries again
            _log.debug("no way to %s: %s", self.url, error)
        except asyncio.CancelledError:
            pass  # by `close`; asyncio's servers report a handler that ends so as a defect
        finally:
            self._open.discard(task)
            writer.close()

    async def _connect(self) -> Line:
        parts = urlsplit(self.url)
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        return await asyncio.open_connection(parts.hostname, port, ssl=secure or None)
