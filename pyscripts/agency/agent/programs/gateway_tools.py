"""Tools behind the agent's gateway: MCP over streamable HTTP, by the official SDK.

Each list and each call is a session of its own, as the gateway keeps none: a program goes on after
the gateway was restarted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
from mcp import ClientSession, McpError, types
from mcp.client.streamable_http import streamable_http_client

from agency.agent.models.faults import one_line
from agency.agent.programs.tools import MAX_TOOLS, Outcome, Tool
from agency.errors import PrerequisiteError
from agency.secrets import SecretValue

_LIST_S = 30.0
_MAX_PAGES = 20


class GatewayLostError(PrerequisiteError):
    """Gateway that cannot be reached, or was lost in mid-call."""


class GatewayTools:
    """Tools at a gateway's address; with `socket`, the URL names the host alone.

    A call waits as long as people are asked for it: whoever calls bounds it.
    """

    def __init__(self, url: str, token: SecretValue, socket: Path | None = None) -> None:
        self._url = url
        self._token = token
        self._socket = socket

    async def list(self) -> tuple[Tool, ...]:
        """Return the tools that policy lets the agent see; raises GatewayLostError."""
        tools: list[Tool] = []
        with _told(lambda: "the tools cannot be listed"):
            async with self._session() as session:
                cursor: str | None = None
                for _ in range(_MAX_PAGES):
                    page = await session.list_tools(
                        params=types.PaginatedRequestParams(cursor=cursor)
                    )
                    tools += [Tool(t.name, t.description or "", t.inputSchema) for t in page.tools]
                    cursor = page.nextCursor
                    if cursor is None or len(tools) >= MAX_TOOLS:
                        break
        return tuple(tools[:MAX_TOOLS])

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Outcome:
        """Call a tool by its own name; raises GatewayLostError."""
        reached = False
        with _told(
            lambda: _LOST if reached else "the gateway cannot be reached: nothing was called"
        ):
            async with self._session() as session:
                reached = True
                try:
                    result = await session.call_tool(name, dict(arguments))
                except McpError as error:
                    return Outcome(f"the gateway refuses the call: {one_line(error)}", failed=True)
            return Outcome("\n".join(map(_text, result.content)), result.isError)
        raise AssertionError  # `_told` ends every other way

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[ClientSession]:
        path = None if self._socket is None else str(self._socket)
        async with (
            httpx.AsyncClient(
                transport=httpx.AsyncHTTPTransport(uds=path, trust_env=False),
                headers={"Authorization": f"Bearer {self._token.reveal()}"},
                timeout=httpx.Timeout(10.0, read=None),
                follow_redirects=False,
                trust_env=False,
            ) as client,
            streamable_http_client(self._url, http_client=client) as (received, sent, _),
            ClientSession(received, sent) as session,
        ):
            async with asyncio.timeout(_LIST_S):
                await session.initialize()
            yield session


_LOST = "the gateway was lost in mid-call: the call may have happened or not; look before another"


@contextmanager
def _told(what: Callable[[], str]) -> Iterator[None]:
    """Turn what the SDK raises, alone or in groups, into GatewayLostError."""
    try:
        yield
    except (ExceptionGroup, httpx.HTTPError, McpError, OSError, TimeoutError) as error:
        raise GatewayLostError(what(), hint="see the journal of the agent's gateway") from error


def _text(block: types.ContentBlock) -> str:
    """Write a part of a result as text; what is no text is only named."""
    if isinstance(block, types.TextContent):
        return block.text
    return f"[{block.type}, which the builtin program does not read]"
