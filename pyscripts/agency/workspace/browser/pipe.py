"""Way to a running Chromium: messages of its debugging protocol, each ended by a null byte."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from agency.errors import AgencyError

MAX_MESSAGE = 64 * 1024 * 1024  # a picture of a long page, in base64
_ANSWER_S = 30.0
_MOST_DROPPED = 2 * 1024**3  # bytes of one message: more than its processes may hold
_EDGE = 200  # bytes of a message at both ends, where Chromium writes number and session
_NUMBER = re.compile(rb'\{"id":([0-9]{1,18}),')
_SESSION = re.compile(rb'[}\]],"sessionId":"([0-9A-Za-z]{1,64})"\}\Z')

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

        Pages decide how long a message is. One that is too long is left out, and an error yielded
        in its place if it was an answer.

        Raises:
            BrowserError: it sent what is no message.
        """
        try:
            while True:
                try:
                    message = await self._next_message()
                except (asyncio.IncompleteReadError, OSError):
                    return
                except (ValueError, RecursionError) as error:
                    raise BrowserError("the browser sent what is no message") from error
                if message is None:
                    continue
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

    async def _next_message(self) -> Any:
        """Read a message; None in place of one that is too long and no answer."""
        try:
            raw = await self.reader.readuntil(b"\0")
        except asyncio.LimitOverrunError as error:
            return _instead(*await self._drop(error.consumed))
        return json.loads(raw[:-1])

    async def _drop(self, known: int) -> tuple[bytes, bytes]:
        """Read a message to its end; return both of its ends."""
        head = tail = b""
        dropped = 0
        while True:
            part = await self.reader.readexactly(known)
            head, tail, dropped = head or part[:_EDGE], (tail + part)[-_EDGE:], dropped + known
            if dropped > _MOST_DROPPED:
                raise BrowserError("the browser sent a message without an end")
            try:
                rest = await self.reader.readuntil(b"\0")
            except asyncio.LimitOverrunError as error:
                known = error.consumed
                continue
            return head, (tail + rest[:-1])[-_EDGE:]

    async def close(self) -> None:
        """Close our end."""
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            return


def _instead(head: bytes, tail: bytes) -> Message | None:
    """Return an error in place of an answer, by its two ends; None for an event. Pure."""
    number, session = _NUMBER.match(head), _SESSION.search(tail)
    if number is None:
        return None
    error = {"code": -32000, "message": "the answer is too long"}
    answer: Message = {"id": int(number[1]), "error": error}
    return answer if session is None else answer | {"sessionId": session[1].decode()}


async def open_pipe(ours: socket.socket) -> Pipe:
    """Make the way over our end of the socket pair."""
    reader, writer = await asyncio.open_connection(sock=ours, limit=MAX_MESSAGE)
    return Pipe(reader, writer)
