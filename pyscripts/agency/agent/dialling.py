"""Lines of an agent in a container: connections that it makes, and on which it serves ACP.

    agent ── dials ──▶ socket of its runtime, mounted read-only ◀── waits ── runtime
      ▲                                                                        │
      └───────────────── requests, over a line that waits ─────────────────────┘

So the agent listens nowhere, needs no network, and writes no file that its runtime would open. A
few lines wait at any time; one that ended is dialled anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from agency.web import RelayedProtocol

LINES = 8  # whoever follows the events keeps one
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0

_log = logging.getLogger(__name__)


class DialledSite(web.BaseSite):
    """Site of an application that dials a Unix socket and serves who is at its other end."""

    def __init__(self, runner: web.BaseRunner, socket: Path, *, lines: int = LINES) -> None:
        super().__init__(runner)
        self._made, self._socket, self._lines = runner, socket, lines
        self._dialling: list[asyncio.Task[None]] = []
        self._said = ""  # the last reason, which every line meets at the same time

    @property
    def name(self) -> str:
        """Address of the socket."""
        return f"unix:{self._socket}"

    async def start(self) -> None:
        """Begin to dial."""
        await super().start()
        factory = self._made.server
        assert factory is not None  # the runner was set up before its site
        self._dialling = [
            asyncio.create_task(self._keep(factory), name=f"line {number}")
            for number in range(self._lines)
        ]

    async def stop(self) -> None:
        """Dial no more; requests in flight go on."""
        for each in self._dialling:
            each.cancel()
        await asyncio.gather(*self._dialling, return_exceptions=True)
        await super().stop()

    async def _keep(self, factory: Callable[[], asyncio.Protocol]) -> None:
        """Keep one line: dial, wait for its end, dial again."""
        pause_s = _FIRST_PAUSE_S
        while True:
            loop = asyncio.get_running_loop()
            try:
                _, line = await loop.create_unix_connection(
                    lambda: _Line(factory()), str(self._socket)
                )
            except OSError as error:  # the control plane is away, and comes back
                self._say(error.strerror or str(error))
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                continue
            self._said = ""
            begun = loop.time()
            await line.ended.wait()
            # Whoever ends every line at once is not asked more often than once a pause.
            lived = loop.time() - begun > _FIRST_PAUSE_S
            pause_s = _FIRST_PAUSE_S if lived else min(2 * pause_s, _LONGEST_PAUSE_S)
            await asyncio.sleep(0 if lived else pause_s)

    def _say(self, reason: str) -> None:
        if reason != self._said:
            self._said = reason
            _log.warning("the runtime does not answer: %s", reason)


class _Line(RelayedProtocol):
    """One connection, which tells its end."""

    def __init__(self, inner: asyncio.Protocol) -> None:
        super().__init__(inner)
        self.ended = asyncio.Event()

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self.ended.set()
