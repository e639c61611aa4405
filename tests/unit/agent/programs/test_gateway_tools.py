"""The builtin program's way to tools, against a real server of the official SDK."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvicorn
from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from scripted_model import Turn, scripted

from agency.agent.models.client import Endpoint, ModelClient, ModelLimits
from agency.agent.models.conversation import ToolCall
from agency.agent.programs.builtin import Run, Settings
from agency.agent.programs.gateway_tools import GatewayLostError, GatewayTools
from agency.agent.programs.journal import Journal
from agency.agent.programs.steps import Ending
from agency.agent.programs.tools import NoTools
from agency.agent.programs.work import WorkConfig, tools_of
from agency.secrets import SecretValue

TOKEN = secrets.token_urlsafe()


class Served:
    """A server at a Unix socket that answers as a gateway does."""

    def __init__(self, path: Path) -> None:
        self.path, self.called, self.tokens = path, [], []
        self.hang = asyncio.Event()
        self.server: uvicorn.Server | None = None

    def mcp(self) -> Server:
        server: Server = Server("gateway")

        async def list_tools(request: types.ListToolsRequest) -> types.ServerResult:
            second = request.params is not None and request.params.cursor == "next"
            name = "web__fetch" if second else "files__read"
            tool = types.Tool(name=name, description="d", inputSchema={"type": "object"})
            page = types.ListToolsResult(tools=[tool], nextCursor=None if second else "next")
            return types.ServerResult(page)

        async def call_tool(request: types.CallToolRequest) -> types.ServerResult:
            self.called.append((request.params.name, request.params.arguments))
            if request.params.name == "web__fetch":
                self.hang.set()
                await asyncio.sleep(60)
            failed = request.params.name != "files__read"
            content = [
                types.TextContent(type="text", text="denied" if failed else "the text"),
                types.ImageContent(type="image", data="AA==", mimeType="image/png"),
            ]
            return types.ServerResult(types.CallToolResult(content=content, isError=failed))

        server.request_handlers[types.ListToolsRequest] = list_tools
        server.request_handlers[types.CallToolRequest] = call_tool
        return server

    async def app(self, scope, receive, send) -> None:
        self.tokens.append(dict(scope["headers"]).get(b"authorization"))
        await self.manager.handle_request(scope, receive, send)

    @contextlib.asynccontextmanager
    async def running(self, *, json_response: bool = True) -> AsyncIterator[Served]:
        self.manager = StreamableHTTPSessionManager(
            self.mcp(), json_response=json_response, stateless=True
        )
        config = uvicorn.Config(
            self.app,
            uds=str(self.path),
            lifespan="off",
            log_config=None,
            ws="none",
            interface="asgi3",
            timeout_graceful_shutdown=1,
        )
        self.server = uvicorn.Server(config)
        async with self.manager.run():
            task = asyncio.create_task(self.server._serve(None))
            while not self.server.started:  # noqa: ASYNC110 - of the library
                await asyncio.sleep(0.01)
            try:
                yield self
            finally:
                self.server.should_exit = self.server.force_exit = True
                await task


def tools(path: Path) -> GatewayTools:
    return GatewayTools("http://gateway/mcp", SecretValue(TOKEN), path)


@pytest.mark.parametrize("json_response", [True, False])
async def test_list_and_call(tmp_path, json_response):
    async with Served(tmp_path / "s").running(json_response=json_response) as served:
        way = tools(tmp_path / "s")
        assert [each.name for each in await way.list()] == ["files__read", "web__fetch"]
        outcome = await way.call("files__read", {"path": "a"})
        assert (outcome.text.splitlines()[0], outcome.failed) == ("the text", False)
        assert "image" in outcome.text
        assert (await way.call("other", {})).failed
        assert served.called == [("files__read", {"path": "a"}), ("other", {})]
        assert set(served.tokens) == {f"Bearer {TOKEN}".encode()}


async def test_a_gateway_that_is_not_there(tmp_path):
    with pytest.raises(GatewayLostError, match="cannot be listed"):
        await tools(tmp_path / "s").list()
    with pytest.raises(GatewayLostError, match="nothing was called"):
        await tools(tmp_path / "s").call("files__read", {})


# The beginning of an answer: a head, and of its body what comes before the connection ends.
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "nothing was called"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "nothing was called"),
        (b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n", "may have happened"),
        (b"", "may have happened"),
        (OK, "may have happened"),
        (OK + b": ping\n\ndata: {}\n\n", "may have happened"),
        (OK + b"data: no JSON\n\n", "may have happened"),
        (OK + b'data: {"jsonrpc": "2.0", "id": 1, "result": {}}\n\n', "may have happened"),
        (OK + b'data: {"jsonrpc": "2.0", "id": 1, "result": {"content"\n', "may have happened"),
    ],
)
async def test_a_gateway_that_breaks_off_leaves_no_doubt_about_the_doubt(tmp_path, said, told):
    async def answer(reader, writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()

    async with await asyncio.start_unix_server(answer, tmp_path / "s"):
        with pytest.raises(GatewayLostError, match=told):
            await asyncio.wait_for(tools(tmp_path / "s").call("files__read", {}), 10)
        with pytest.raises(GatewayLostError, match="cannot be listed"):
            await asyncio.wait_for(tools(tmp_path / "s").list(), 10)


async def test_an_error_of_the_gateway_is_the_outcome(tmp_path):
    said = b'data: {"jsonrpc": "2.0", "id": 1, "error": {"code": -1, "message": "no\\nway"}}\n\n'

    async def answer(reader, writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b'data: {"jsonrpc": "2.0", "method": "x", "id": 1}\n\n' + said)

    async with await asyncio.start_unix_server(answer, tmp_path / "s"):
        outcome = await asyncio.wait_for(tools(tmp_path / "s").call("files__read", {}), 10)
    assert outcome.failed
    assert "refuses the call: no" in outcome.text


async def test_a_cancel_ends_a_call(tmp_path):
    async with Served(tmp_path / "s").running() as served:
        task = asyncio.create_task(tools(tmp_path / "s").call("web__fetch", {}))
        await asyncio.wait_for(served.hang.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)


async def test_a_task_over_both_ways(tmp_path):
    calls = (ToolCall("c1", "files__read", "{}"), ToolCall("c2", "files__burn", "{}"))
    async with (
        Served(tmp_path / "s").running() as served,
        scripted(Turn("I look.", calls), Turn("done")) as model,
        ModelClient(Endpoint(model.url, SecretValue("t")), ModelLimits(tries=1)) as client,
    ):
        with Journal(tmp_path / "j") as journal:
            run = Run(Settings("m", "s"), client, tools(tmp_path / "s"), journal)
            assert (await run.run("look")).ending is Ending.ANSWERED
        assert served.called == [("files__read", {})]
        assert "the text" in str(model.asked[1].body)


def test_a_configuration_without_a_gateway_has_no_tools(tmp_path, monkeypatch):
    (tmp_path / "gateway-token").write_text(TOKEN)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    plain = {"gosuto": "/g", "journal": "/j", "model": {"url": "http://proxy"}}
    bare = WorkConfig.model_validate_json(json.dumps(plain))
    assert isinstance(tools_of(bare), NoTools)
    served = WorkConfig.model_validate_json(json.dumps({**plain, "gateway": {"socket": "/s"}}))
    assert isinstance(tools_of(served), GatewayTools)
