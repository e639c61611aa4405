"""Protocol that hands everything on to another one: the base of those that watch a connection."""

from __future__ import annotations

import asyncio


class RelayedProtocol(asyncio.Protocol):
    """One connection of an inner protocol, which gets every call."""

    def __init__(self, inner: asyncio.Protocol) -> None:
        self.inner = inner

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hand on that the connection is made."""
        self.inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Hand on what was received."""
        self.inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Hand on that nothing more comes."""
        return self.inner.eof_received()

    def pause_writing(self) -> None:
        """Hand on that the other end is slow."""
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        """Hand on that the other end follows again."""
        self.inner.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        """Hand on the end of the connection."""
        self.inner.connection_lost(error)
