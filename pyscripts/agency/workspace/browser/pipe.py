"""Way to a running Chromium: messages of its debugging protocol, each ended by a null byte."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from agency.errors import AgencyError

MAX_MESSAGE = 64 * 1024 * 1024  # a picture of a long page, in base64
_ANSWER_S = 30.0

Message = dict[str, Any]


class BrowserError(AgencyError):
    """Browser that does not answer, refuses, or is gone."""


@dataclass(slots=True)
class Pipe:
    """The one connection; `call` is for our own commands, `messages` yields all others.

    `call` is answered while somebody iterates `messages`.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    _next: int = 0
    _waiting: dict[int, asyncio.Future[Message]] = field(default_factory=dict)

    def take_number(self) -> int:
        """Return a number that no other command has."""
        self._next += 1
        return self._next

    async def send(self, message: Message) -> None:
        """Send a message.

        Raises:
            BrowserError: the browser is gone.
        """
        try:
            self.writer.write(json.dumps(message).encode() + b"\0")
            await self.writer.drain()
        except (OSError, RuntimeError) as error:
            raise BrowserError("the browser is gone") from error

    async def call(self, method: str, **params: Any) -> Mapping[str, Any]:
        """Send a command of our own, and return its result.

        Raises:
            BrowserError: it was refused, or not answered in time.
        """
        number = self.take_number()
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            async with asyncio.timeout(_ANSWER_S):
                await self.send({"id": number, "method": method, "params": params})
                answer = await future
        except TimeoutError:
            raise BrowserError(f"no answer to {method} after {_ANSWER_S:g} s") from None
        finally:
            self._waiting.pop(number, None)
        if "error" in answer:
            raise BrowserError(f"the browser refuses {method}")
        result: Mapping[str, Any] = answer.get("result", {})
        return result

    async def messages(self) -> AsyncIterator[Message]:
        """Yield what is no answer to a command of our own, until the browser is gone.

        Raises:
            BrowserError: it sent what is no message, or too long a one.
        """
        try:
            while True:
                try:
                    raw = await self.reader.readuntil(b"\0")
                    message = json.loads(raw[:-1])
                except (asyncio.IncompleteReadError, OSError):
                    return
                except (asyncio.LimitOverrunError, ValueError, RecursionError) as error:
                    raise BrowserError("the browser sent what is no message") from error
                if not isinstance(message, dict):
                    raise BrowserError("the browser sent what is no message")
                number = message.get("id")
                future = self._waiting.get(number) if isinstance(number, int) else None
                if future is None:
                    yield message
                elif not future.done():
                    future.set_result(message)
        finally:
            for each in self._waiting.values():
                if not each.done():
                    each.set_exception(BrowserError("the browser is gone"))

    async def close(self) -> None:
        """Close our end."""
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            return


async def open_pipe(ours: socket.socket) -> Pipe:
    """Make the way over our end of the socket pair."""
    reader, writer = await asyncio.open_connection(sock=ours, limit=MAX_MESSAGE)
    return Pipe(reader, writer)
