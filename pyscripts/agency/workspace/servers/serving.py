"""Serving of tools over standard streams, by the official SDK; one call at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

from agency.errors import AgencyError

MAX_ANSWER = 64 * 1024  # characters; the gateway bounds it again
Arguments = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool: each argument is a text, and needed unless `optional` names it."""

    name: str
    description: str
    call: Callable[[Arguments], Awaitable[str]]
    texts: Mapping[str, str] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()

    def as_tool(self) -> types.Tool:
        """Describe it as MCP does."""
        properties = {
            name: {"type": "string", "description": text} for name, text in self.texts.items()
        }
        schema = {
            "type": "object",
            "properties": properties,
            "required": sorted(self.texts.keys() - self.optional),
            "additionalProperties": False,
        }
        return types.Tool(name=self.name, description=self.description, inputSchema=schema)


@dataclass(frozen=True, slots=True)
class Desk:
    """Answers calls of the offered tools; a failure is the result of its call, and no more."""

    offers: Sequence[Offer]
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def call(self, name: str, arguments: Arguments) -> types.CallToolResult:
        """Call a tool by its exact name."""
        offer = next((each for each in self.offers if each.name == name), None)
        wrong = "there is no such tool" if offer is None else _why_not(offer, arguments)
        if offer is None or wrong:
            return _result(wrong, failed=True)
        async with self._turn:
            try:
                return _result(await offer.call(arguments), failed=False)
            except AgencyError as error:
                return _result(str(error), failed=True)
            except OSError as error:  # such as a full disk, or no end in time
                return _result(error.strerror or type(error).__name__, failed=True)


def _why_not(offer: Offer, arguments: Arguments) -> str:
    if not arguments.keys() <= offer.texts.keys():
        return f"the arguments are {', '.join(offer.texts) or 'none'}"
    missing = sorted(offer.texts.keys() - offer.optional - arguments.keys())
    if missing or not all(isinstance(each, str) for each in arguments.values()):
        return f"each argument is a text; missing: {', '.join(missing) or 'none'}"
    return ""


def _result(text: str, *, failed: bool) -> types.CallToolResult:
    if len(text) > MAX_ANSWER:
        left_out = len(text) - MAX_ANSWER
        text = f"{text[:MAX_ANSWER]}\n[{left_out} characters left out]"
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], isError=failed)


async def serve(name: str, offers: Sequence[Offer]) -> None:
    """Serve until the other side closes the streams."""
    desk, server = Desk(offers), Server[object, object](name)

    async def listed(_: types.ListToolsRequest) -> types.ServerResult:
        return types.ServerResult(types.ListToolsResult(tools=[o.as_tool() for o in offers]))

    async def called(request: types.CallToolRequest) -> types.ServerResult:
        told = await desk.call(request.params.name, request.params.arguments or {})
        return types.ServerResult(told)

    server.request_handlers[types.ListToolsRequest] = listed
    server.request_handlers[types.CallToolRequest] = called
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())
