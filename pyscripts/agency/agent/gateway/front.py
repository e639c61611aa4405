"""Front of a gateway: the MCP server that the agent's program talks to, by streamable HTTP.

Each request stands alone (no session is kept), so that a program goes on after the gateway was
restarted. It offers tools and nothing else: no resources, no prompts, no sampling.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import socket
from collections.abc import AsyncIterator

import uvicorn
from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agency import __version__
from agency.agent.gateway.calls.dispatch import Call, Dispatcher, Refusal
from agency.agent.gateway.calls.results import Block, Result
from agency.agent.gateway.calls.tools import full_name
from agency.protocols import TRACE_HEADER, is_trace

MCP_PATH = "/mcp"
MAX_BODY = 512 * 1024
MAX_REQUESTS = 64  # at once
MAX_CONNECTIONS = 128
_UNTRUSTED = {"agency/untrusted": True}

_log = logging.getLogger(__name__)


def build_mcp(dispatcher: Dispatcher) -> Server[object, object]:
    """Build the MCP server: the list of tools and their call, by the dispatcher alone."""
    server: Server[object, object] = Server("agency-gateway", version=__version__)

    async def list_tools(_: types.ListToolsRequest) -> types.ServerResult:
        tools = [
            types.Tool(
                name=tool.public, description=tool.description, inputSchema=dict(tool.input_schema)
            )
            for tool in await dispatcher.offer()
        ]
        return types.ServerResult(types.ListToolsResult(tools=tools))

    async def call_tool(request: types.CallToolRequest) -> types.ServerResult:
        name, args = request.params.name, request.params.arguments or {}
        # Each tool has one name here: the Gosuto's own is none, and no other one either.
        call = Call(full_name(name) or f"?{name[:256]}", args, "program", _trace(server))
        return types.ServerResult(_said(await dispatcher.call(call)))

    # By the registry of handlers: the SDK's decorators would validate by the server's own schema.
    server.request_handlers[types.ListToolsRequest] = list_tools
    server.request_handlers[types.CallToolRequest] = call_tool
    return server


def _trace(server: Server[object, object]) -> str | None:
    request = getattr(server.request_context, "request", None)
    told = "" if request is None else str(request.headers.get(TRACE_HEADER, ""))
    return told if is_trace(told) else None


def _said(answer: Result | Refusal) -> types.CallToolResult:
    if isinstance(answer, Refusal):
        told = f"[agency gateway] {answer.code}: {answer.reason}"
        if answer.approval is not None:
            told += f" (approval {answer.approval})"
        return types.CallToolResult(
            content=[types.TextContent(type="text", text=told)], isError=True
        )
    return types.CallToolResult(
        content=list(map(_block, answer.blocks)), isError=answer.failed, _meta=_UNTRUSTED
    )


def _block(block: Block) -> types.ContentBlock:
    if block.kind == "image":
        return types.ImageContent(type="image", data=block.data, mimeType=block.mime)
    if block.kind == "audio":
        return types.AudioContent(type="audio", data=block.data, mimeType=block.mime)
    return types.TextContent(type="text", text=block.data)


class _Guard:
    """ASGI application that lets requests with the token through, within bounds, to one path."""

    def __init__(self, inner: ASGIApp, token: str) -> None:
        self._inner = inner
        self._wanted = f"Bearer {token}".encode()
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        presented = given[0] if len(given) == 1 else b""
        if not hmac.compare_digest(presented, self._wanted):
            await _answer(send, 401, b"a valid bearer token is needed")
        elif scope["path"] != MCP_PATH or scope["method"] != "POST":
            await _answer(send, 405 if scope["path"] == MCP_PATH else 404, b"POST /mcp")
        elif self._running >= MAX_REQUESTS:
            await _answer(send, 503, b"too many requests at once")
        else:
            self._running += 1
            try:
                body = await _body(receive)
                if body is None:
                    await _answer(send, 413, b"the body is too long")
                    return
                await self._inner(scope, _again(body, receive), send)
            finally:
                self._running -= 1


async def _body(receive: Receive) -> bytes | None:
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += bytes(message.get("body", b""))
        if len(body) > MAX_BODY:
            return None
        if not message.get("more_body"):
            return body


def _again(body: bytes, receive: Receive) -> Receive:
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _answer(send: Send, status: int, text: bytes) -> None:
    headers = [(b"content-type", b"text/plain"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})


class _Quiet(uvicorn.Server):
    """Server whose signals are its program's."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]  # uvicorn types it otherwise by version
        yield


@contextlib.asynccontextmanager
async def serve_front(
    dispatcher: Dispatcher, token: str, listening: socket.socket
) -> AsyncIterator[None]:
    """Serve the program on a listening socket until the block ends."""
    manager = StreamableHTTPSessionManager(build_mcp(dispatcher), stateless=True)
    config = uvicorn.Config(
        _Guard(manager.handle_request, token),
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=2,
    )
    server = _Quiet(config)
    try:
        async with manager.run():
            work = asyncio.create_task(server.serve(sockets=[listening]), name="front")
            try:
                yield
            finally:
                server.should_exit = True
                await work
    except BaseExceptionGroup as group:
        # The SDK's task group wraps what the block raises, and nobody knows it then.
        raise _only(group) from None


def _only(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
