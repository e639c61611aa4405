"""A tool server at a URL whose name leads elsewhere later: no token and no call go there."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import certifi
import pytest
from authority import Authority
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCMessage, JSONRPCRequest

from agency.agent.gateway.servers.http import talk
from agency.secrets import SecretValue

NAME = "tools.agency.example"
TOKEN = "the-token-of-the-tool-server"


class Listener:
    """A TLS server on loopback that keeps what it is sent, and answers nothing."""

    def __init__(self) -> None:
        self.heard = b""
        self.port = 0

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ssl.SSLError):
            self.heard += await reader.read(65_536)
        writer.close()


@contextlib.asynccontextmanager
async def listening(authority: Authority, name: str, place: Path) -> AsyncIterator[Listener]:
    files = place / f"{name}.pem", place / f"{name}.key"
    for file, content in zip(files, authority.issue(name), strict=True):
        file.write_bytes(content)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    made = Listener()
    server = await asyncio.start_server(made.take, "127.0.0.1", 0, ssl=context)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made


async def say_something(port: int) -> None:
    """Begin to speak MCP with the server; it ends in an error, as no answer comes."""
    with contextlib.suppress(Exception):
        async with (
            asyncio.timeout(5),
            talk(f"https://{NAME}:{port}/mcp", SecretValue(TOKEN)) as (received, sent),
        ):
            request = JSONRPCRequest(jsonrpc="2.0", id=1, method="initialize", params={})
            await sent.send(SessionMessage(JSONRPCMessage(request)))
            await received.receive()


async def test_a_name_that_leads_to_this_machine_now_gets_no_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is looked up at each connection; who answers must have its certificate."""
    known, other = Authority(), Authority()
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(known.pem)
    monkeypatch.setattr(certifi, "where", lambda: str(trusted))
    looked_up = []

    async def here(*_: Any, **__: Any) -> list[Any]:
        looked_up.append(NAME)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", given[0]))]

    given = [0]
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", here)
    async with (
        listening(known, NAME, tmp_path) as server,
        listening(other, NAME, tmp_path) as impostor,
        listening(known, "localhost", tmp_path) as service,
    ):
        given[0] = server.port
        await say_something(server.port)
        assert f"Bearer {TOKEN}".encode() in server.heard, "the right one is spoken to"
        for elsewhere in (impostor, service):
            given[0] = elsewhere.port
            await say_something(elsewhere.port)
            assert elsewhere.heard == b""
    assert len(looked_up) >= 3
