"""MCP over streamable HTTP to a server at a URL: no redirect, no proxy, bounded answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from mcp.client.streamable_http import streamable_http_client

from agency.agent.gateway.servers.stdio import Streams
from agency.secrets import SecretValue

MAX_ANSWER = 8 * 1024 * 1024  # bytes of one answer, or of one stream of events
_TIMEOUT = httpx.Timeout(10.0, read=300.0)


class _Bounded(httpx.AsyncByteStream):
    """Body of an answer that ends when it is too long."""

    def __init__(self, inner: httpx.AsyncByteStream, request: httpx.Request) -> None:
        self._inner = inner
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._inner:
            size += len(chunk)
            if size > MAX_ANSWER:
                raise httpx.ReadError("the answer is too long", request=self._request)
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Strict(httpx.AsyncBaseTransport):
    """Transport that takes a redirect for an error, whoever would follow it."""

    def __init__(self) -> None:
        self._inner = httpx.AsyncHTTPTransport(trust_env=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        if 300 <= response.status_code < 400:
            await response.aclose()
            raise httpx.RemoteProtocolError("the server redirects elsewhere", request=request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Bounded(response.stream, request)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


@asynccontextmanager
async def talk(url: str, bearer: SecretValue | None) -> AsyncIterator[Streams]:
    """Speak MCP with the server at a URL."""
    headers = {} if bearer is None else {"Authorization": f"Bearer {bearer.reveal()}"}
    async with (
        httpx.AsyncClient(
            transport=_Strict(),
            headers=headers,
            timeout=_TIMEOUT,
            follow_redirects=False,
            trust_env=False,
        ) as client,
        streamable_http_client(url, http_client=client) as (received, sent, _),
    ):
        yield received, sent
