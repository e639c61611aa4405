"""Provider's side of a call: the request with the provider's key, and its answer, event by event.

The address comes from the configuration alone. No redirect is followed, no proxy variable of the
environment counts, and of the answer's headers only those of HEADERS reach the program.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import aiohttp
from aiohttp import hdrs

from agency.agent.models.client import CODECS
from agency.agent.models.faults import OversizedAnswerError
from agency.agent.models.sse import MAX_EVENT
from agency.agent.proxy.config import Provider
from agency.agent.proxy.refusals import Refusal
from agency.secrets import SecretValue

HEADERS = (hdrs.RETRY_AFTER, "X-Request-Id", "Request-Id", "X-Should-Retry")
_KEYS = (hdrs.AUTHORIZATION, "X-Api-Key")
EVENTS, JSON = "text/event-stream", "application/json"
_CONNECT_S = 10.0
_MAX_ERROR = 64 * 1024
_FRAME_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
# Answers by which the provider itself says that it did nothing. Others, as those of a server in
# between, may hide an answer that was made and is paid for.
_NOTHING_DONE = frozenset({500, 501, 503, 529})


def nothing_done(status: int) -> bool:
    """Tell whether a status says that the call cost nothing."""
    return 300 <= status < 500 or status in _NOTHING_DONE


class Frames:
    """Splitter of a stream into the bytes of whole events, cut anywhere."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take bytes; return the events that they complete.

        Raises:
            OversizedAnswerError: an event is too large.
        """
        searched = max(0, len(self._rest) - 3)
        self._rest += chunk
        frames, done = [], 0
        for end in [found.end() for found in _FRAME_END.finditer(self._rest, searched)]:
            frames.append(bytes(self._rest[done:end]))
            done = end
        del self._rest[:done]
        if len(self._rest) > MAX_EVENT:
            raise OversizedAnswerError("an event of the stream is too large")
        return frames

    def close(self) -> bytes:
        """Return what is left at the end of the stream: an event without its blank line."""
        rest, self._rest = bytes(self._rest), bytearray()
        return rest


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer whose body has not been read."""

    response: aiohttp.ClientResponse
    most: int

    @property
    def status(self) -> int:
        """HTTP status."""
        return self.response.status

    @property
    def headers(self) -> dict[str, str]:
        """Headers that may pass."""
        found = self.response.headers
        return {name: found[name][:256] for name in HEADERS if name in found}

    @property
    def kind(self) -> str:
        """Media type."""
        return self.response.content_type

    async def chunks(self, most: int | None = None) -> AsyncIterator[bytes]:
        """Yield the body as it comes; raises OversizedAnswerError beyond the bound."""
        size, bound = 0, self.most if most is None else most
        async for chunk in self.response.content.iter_any():
            size += len(chunk)
            if size > bound:
                raise OversizedAnswerError(f"the answer is larger than {bound} bytes")
            yield chunk

    async def body(self, most: int | None = None) -> bytes:
        """Read the whole body."""
        return b"".join([chunk async for chunk in self.chunks(most)])

    async def fault(self, provider: Provider) -> str:
        """Read the provider's own words in an error."""
        try:
            return CODECS[provider.format].fault(await self.body(_MAX_ERROR))
        except (OversizedAnswerError, aiohttp.ClientError, TimeoutError):
            return ""


@dataclass(slots=True)
class _Sent:
    begun: bool = False  # the head of the request was written to a connection


async def _head_sent(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
    context.trace_request_ctx.begun = True


class NotSentError(Refusal):
    """Refusal because no connection was made: nothing was asked, so that nothing is paid."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """Connections to providers, with their keys by the name of the credential."""

    session: aiohttp.ClientSession
    keys: Mapping[str, SecretValue]
    answer_bytes: int

    @asynccontextmanager
    async def asked(self, name: str, provider: Provider, body: bytes) -> AsyncIterator[Reply]:
        """Send a request; yield its answer.

        Raises:
            NotSentError: there is no connection.
            Refusal: the connection was lost, or there was no answer in time.
        """
        codec, named = CODECS[provider.format], provider.credential
        own = codec.headers("" if named is None else self.keys[named].reveal())
        headers = {
            **{name: own[name] for name in own if named is not None or name not in _KEYS},
            hdrs.CONTENT_TYPE: JSON,
            hdrs.ACCEPT_ENCODING: "identity",
            hdrs.USER_AGENT: "agency-proxy",
        }
        sent = _Sent()
        try:
            async with self.session.post(
                provider.url + codec.path,
                data=body,
                headers=headers,
                allow_redirects=False,
                trace_request_ctx=sent,
            ) as response:
                yield Reply(response, self.answer_bytes)
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
            if not sent.begun:
                text = f"cannot connect to the provider {name}"
                raise NotSentError(502, "provider", text) from None
            if isinstance(error, TimeoutError):
                raise Refusal(504, "time", f"the provider {name} did not answer in time") from None
            raise Refusal(502, "provider", f"the provider {name} ended the connection") from None


@asynccontextmanager
async def open_session(idle_s: float) -> AsyncIterator[aiohttp.ClientSession]:
    """Open the session for all providers: no cookies, no proxies, bounded silence."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=idle_s)
    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(_head_sent)
    async with aiohttp.ClientSession(
        timeout=timeout,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        trace_configs=[trace],
    ) as session:
        yield session
        await asyncio.sleep(0)  # lets connections that are being closed end
