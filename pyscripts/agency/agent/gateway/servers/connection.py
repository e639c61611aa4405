"""One MCP session with one server: its tools, and the only `tools/call` of a server.

The SDK's `ClientSession` validates results by the server's own schema without our bounds, so the
two requests are sent by hand, and validated by the dispatcher.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from mcp import ClientSession, types
from mcp.shared.exceptions import McpError

from agency import __version__
from agency.agent.gateway.calls.dispatch import ServerGoneError
from agency.agent.gateway.calls.results import MAX_BLOCKS, Block, Raw
from agency.agent.gateway.calls.tools import MAX_TOOLS, ToolOffer
from agency.agent.gateway.servers.stdio import Streams
from agency.errors import AgencyError

CALL_S = 120.0
_HELLO_S = 20.0
_LIST_S = 10.0
_MOST_PAGES = 32
_CLOSED = -32000  # the SDK's code for a connection that ended


class ServerError(AgencyError):
    """A server that does not do what MCP asks of it."""


@dataclass(slots=True)
class Connection:
    """An open session."""

    session: ClientSession

    async def offers(self) -> tuple[ToolOffer, ...]:
        """Ask for the list of tools, page by page.

        Raises:
            ServerError: no whole list came in time, or it is too long.
        """
        found: list[ToolOffer] = []
        cursor: str | None = None
        try:
            async with asyncio.timeout(_LIST_S):
                for _ in range(_MOST_PAGES):
                    page = await self._page(cursor)
                    found.extend(map(_offer, page.tools))
                    cursor = page.nextCursor
                    if cursor is None or len(found) > MAX_TOOLS:
                        break
        except (TimeoutError, McpError, OSError, ValueError) as error:
            raise ServerError("its tools could not be listed") from error
        if cursor is not None or len(found) > MAX_TOOLS:
            raise ServerError(f"it offers more than {MAX_TOOLS} tools")
        return tuple(found)

    async def call(self, name: str, args: Mapping[str, Any], call_s: float = CALL_S) -> Raw:
        """Call a tool: for the dispatcher alone.

        Raises:
            ServerGoneError: it ended, or did not answer in time, or not as MCP asks.
        """
        params = types.CallToolRequestParams(name=name, arguments=dict(args))
        request = types.ClientRequest(types.CallToolRequest(params=params))
        try:
            said = await self.session.send_request(
                request,
                types.CallToolResult,
                request_read_timeout_seconds=timedelta(seconds=call_s),
            )
        except McpError as error:
            code = error.error.code
            if code == _CLOSED:
                raise ServerGoneError("the server ended during the call") from error
            if code == 408:
                raise ServerGoneError(f"the server did not answer within {call_s:g} s") from error
            return Raw((Block("text", str(error.error.message)),), None, failed=True)
        except (ValueError, RuntimeError, OSError) as error:
            raise ServerGoneError("the server's answer is none") from error
        blocks = tuple(map(_block, said.content[:MAX_BLOCKS]))
        return Raw(blocks, said.structuredContent, failed=said.isError)

    async def _page(self, cursor: str | None) -> types.ListToolsResult:
        params = None if cursor is None else types.PaginatedRequestParams(cursor=cursor)
        request = types.ClientRequest(types.ListToolsRequest(params=params))
        return await self.session.send_request(request, types.ListToolsResult)


@asynccontextmanager
async def connect(
    talk: AbstractAsyncContextManager[Streams], wake: asyncio.Event
) -> AsyncIterator[Connection]:
    """Open a session over streams, and close both at the end.

    `wake` is set when the server says that its tools changed.

    Raises:
        ServerError: the server does not say hello in time.
    """

    async def hear(message: object) -> None:
        changed = isinstance(message, types.ServerNotification) and isinstance(
            message.root, types.ToolListChangedNotification
        )
        if changed:
            wake.set()

    name = types.Implementation(name="agency-gateway", version=__version__)
    async with (
        talk as (received, sent),
        ClientSession(received, sent, message_handler=hear, client_info=name) as session,
    ):
        try:
            async with asyncio.timeout(_HELLO_S):
                await session.initialize()
        except (TimeoutError, McpError, RuntimeError, ValueError) as error:
            raise ServerError("it does not answer as an MCP server") from error
        yield Connection(session)


def _offer(tool: types.Tool) -> ToolOffer:
    known = {"name", "description", "inputSchema", "outputSchema"}
    more = tool.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=known)
    return ToolOffer(tool.name, tool.description or "", tool.inputSchema, tool.outputSchema, more)


def _block(block: types.ContentBlock) -> Block:
    """Take one block; a link and a resource become text: the gateway follows nothing."""
    match block:
        case types.TextContent():
            return Block("text", block.text)
        case types.ImageContent():
            return Block("image", block.data, block.mimeType)
        case types.AudioContent():
            return Block("audio", block.data, block.mimeType)
        case types.ResourceLink():
            return Block("text", f"[link to a resource: {block.uri}]")
        case types.EmbeddedResource(resource=types.TextResourceContents() as text):
            return Block("text", f"[resource {text.uri}]\n{text.text}")
        case _:
            return Block("text", "[a resource that is no text]")
