"""Client of a model's HTTP interface: bounded in time, size and tries; follows no redirects.

ask ─▶ attempt ─▶ answer
         │ 429, 5xx, or no first byte: wait (Retry-After, or twice as long), at most `tries`
         └ once an answer has begun, no further attempt: the error says how it ended
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import aiohttp
from aiohttp import hdrs

from agency.agent.models.chat_completions import ChatCompletions
from agency.agent.models.codec import Codec
from agency.agent.models.conversation import Answer, ModelRequest
from agency.agent.models.faults import (
    BudgetSpentError,
    CutAnswerError,
    MalformedAnswerError,
    ModelError,
    ModelFailedError,
    ModelRefusedError,
    ModelTimeoutError,
    ModelUnreachableError,
    OversizedAnswerError,
    RateLimitedError,
    UnknownToolError,
)
from agency.agent.models.messages import Messages
from agency.agent.models.sse import SseDecoder
from agency.characters import Pieces, whole_escapes
from agency.clock import Clock
from agency.secrets import SecretValue

WireFormat = Literal["openai", "anthropic"]
CODECS: Mapping[WireFormat, Codec] = {"openai": ChatCompletions(), "anthropic": Messages()}

_MAX_ERROR = 64 * 1024
_EVENTS = "text/event-stream"


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """Limits of the client; `idle_s` is the longest silence within an answer."""

    tries: int = 4
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0
    connect_s: float = 10.0
    idle_s: float = 120.0
    whole_s: float = 900.0
    body_bytes: int = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Address of a model: the server's URL without the path of its format, and the key for it.

    With `socket` the connection is made to that Unix socket, and the URL names the host alone.
    """

    url: str
    token: SecretValue
    format: WireFormat = "openai"
    socket: str | None = None


class _RetryError(Exception):
    """An attempt after which another may be made; `after_s` is what the server asks for."""

    def __init__(self, error: ModelError, after_s: float | None = None) -> None:
        super().__init__()
        self.error, self.after_s = error, after_s


def next_wait(tried: int, after_s: float | None, limits: ModelLimits, share: float) -> float | None:
    """Decide how long to wait before the next attempt; None for no further one. Pure.

    `share`, from 0 to 1, spreads the waits of several callers. A server that asks for longer than
    the longest wait is asked no more.
    """
    if tried >= limits.tries:
        return None
    own = min(limits.longest_wait_s, limits.first_wait_s * 2.0 ** (tried - 1)) * (0.5 + share / 2)
    if after_s is None:
        return own
    return None if after_s > limits.longest_wait_s else max(after_s, own)


def retry_after(value: str | None, now: float) -> float | None:
    """Read Retry-After, seconds or a date (RFC 9110, section 10.2.3); None if it is neither."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit() and len(value) < 10:
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None


def _written(body: Any) -> str:
    """Write a request; a tool's result may hold half a character, and servers refuse that."""
    return whole_escapes(json.dumps(body))


@dataclass(slots=True)
class ModelClient:
    """Caller of one endpoint; use it as a context manager."""

    endpoint: Endpoint
    limits: ModelLimits = field(default_factory=ModelLimits)
    clock: Clock = field(default_factory=Clock)
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    share: Callable[[], float] = random.random
    _session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> ModelClient:
        path = self.endpoint.socket
        connector = (
            aiohttp.TCPConnector(family=socket.AF_UNSPEC)
            if path is None
            else aiohttp.UnixConnector(path)
        )
        limits = self.limits
        timeout = aiohttp.ClientTimeout(
            total=limits.whole_s, sock_connect=limits.connect_s, sock_read=limits.idle_s
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            json_serialize=_written,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(
        self,
        request: ModelRequest,
        *,
        stream: bool = True,
        on_text: Callable[[str], None] | None = None,
    ) -> Answer:
        """Ask the model; `on_text` gets the pieces of a streamed text.

        Raises:
            ModelError: one of the errors of `faults`.
        """
        tried = 0
        while True:
            tried += 1
            try:
                answer = await self._attempt(request, stream, on_text)
            except _RetryError as again:
                wait = next_wait(tried, again.after_s, self.limits, self.share())
                if wait is None:
                    raise again.error from again.error.__cause__
                await self.sleep(wait)
            else:
                return self._offered(request, answer)

    def _offered(self, request: ModelRequest, answer: Answer) -> Answer:
        offered = {tool.name for tool in request.tools}
        unknown = tuple(call.name for call in answer.calls if call.name not in offered)
        if unknown:
            raise UnknownToolError(answer, unknown, where=self._where)
        return answer

    @property
    def _codec(self) -> Codec:
        return CODECS[self.endpoint.format]

    @property
    def _where(self) -> str:
        return self.endpoint.url + self._codec.path

    async def _attempt(
        self, request: ModelRequest, stream: bool, on_text: Callable[[str], None] | None
    ) -> Answer:
        assert self._session is not None
        begun = False
        try:
            async with self._session.post(
                self._where,
                json=self._codec.encode(request, stream=stream),
                headers={**self._codec.headers(self.endpoint.token.reveal()), hdrs.ACCEPT: _EVENTS}
                if stream
                else self._codec.headers(self.endpoint.token.reveal()),
                allow_redirects=False,
            ) as response:
                if response.status != 200:
                    raise await self._refusal(response)
                begun = True
                if response.content_type == _EVENTS:
                    return await self._assembled(response, on_text)
                return self._codec.decode(await self._whole(response, self.limits.body_bytes))
        except TimeoutError as error:
            raise ModelTimeoutError("no answer in time", where=self._where) from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._broken(error, begun=begun) from error
        except ModelError as error:
            error.where = error.where or self._where
            raise

    def _broken(self, error: Exception, *, begun: bool) -> Exception:
        if not begun and isinstance(error, aiohttp.ClientConnectionError | OSError):
            told = "the connection was lost before an answer began"
            if isinstance(error, aiohttp.ClientConnectorError):
                told = f"cannot connect: {error.os_error.strerror or 'no connection'}"
            return _RetryError(ModelUnreachableError(told, where=self._where))
        if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ClientConnectionError | OSError):
            return CutAnswerError("the connection was lost in mid-answer", where=self._where)
        return MalformedAnswerError("the answer is not HTTP", where=self._where)

    async def _refusal(self, response: aiohttp.ClientResponse) -> Exception:
        try:
            said = self._codec.fault(await self._whole(response, _MAX_ERROR))
        except OversizedAnswerError:
            said = ""
        status = response.status
        told = f"HTTP {status}: {said}" if said else f"HTTP {status}"
        if status == 429:
            after = retry_after(response.headers.get(hdrs.RETRY_AFTER), self.clock.wall())
            error = RateLimitedError(told, where=self._where, retry_after_s=after)
            return _RetryError(error, after)
        if status >= 500:
            after = retry_after(response.headers.get(hdrs.RETRY_AFTER), self.clock.wall())
            return _RetryError(ModelFailedError(told, where=self._where), after)
        if status == 402:
            return BudgetSpentError(told, where=self._where)
        if 300 <= status < 400:
            told = f"HTTP {status}: a redirect, which is not followed"
        return ModelRefusedError(told, where=self._where, status=status)

    async def _whole(self, response: aiohttp.ClientResponse, most: int) -> bytes:
        body = bytearray()
        async for chunk in self._chunks(response, most):
            body += chunk
        return bytes(body)

    async def _chunks(self, response: aiohttp.ClientResponse, most: int) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in response.content.iter_any():
            size += len(chunk)
            if size > most:
                raise OversizedAnswerError(f"the answer is larger than {most} bytes")
            yield chunk

    async def _assembled(
        self, response: aiohttp.ClientResponse, on_text: Callable[[str], None] | None
    ) -> Answer:
        decoder, assembly, pieces = SseDecoder(), self._codec.assembly(), Pieces()
        async for chunk in self._chunks(response, self.limits.body_bytes):
            for event in decoder.feed(chunk):
                added = pieces.take(assembly.take(event))
                if added and on_text is not None:
                    on_text(added)
                if assembly.ended:
                    return assembly.answer()
        return assembly.answer()
