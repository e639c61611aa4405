"""The tool gateway: the decision of a large Gosuto, its own part of a call, and a whole call.

The baseline of a whole call is the same call made to the same server by the same client, without a
gateway, in between. Its own part is a call through the dispatcher with its journal on disk and an
audit log that answers at once, to a tool that does nothing.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from mcp import ClientSession, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from agency.agent.gateway.calls.approvals import Approvals
from agency.agent.gateway.calls.auditing import Auditor
from agency.agent.gateway.calls.dispatch import Call, Dispatcher
from agency.agent.gateway.calls.journal import Journal
from agency.agent.gateway.calls.judging import Offered
from agency.agent.gateway.calls.results import Block, Raw, Result
from agency.agent.gateway.calls.schemas import Checker
from agency.agent.gateway.calls.tools import Tool
from agency.agent.gateway.core import read_policy
from agency.clock import Clock
from agency.gosuto import Document, canonical, decide, read_document
from agency.protocols import AuditClient, GatewayClient
from agency.secrets import Redactor
from benchmarks.rows import Row, percentile

_RULES = 500
_USUAL_ONE_RULE_MS = 0.0019
_DECISIONS = 200  # in a round; the least of the rounds counts, what is above is others' work
_ROUNDS = 10
_CALLS = 300
_SERVER = """
from mcp.server.fastmcp import FastMCP
server = FastMCP("bench", log_level="WARNING")
@server.tool()
def echo(text: str) -> str:
    return text
server.run()
"""
_SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


def rows() -> Iterator[Row]:
    """Measure all of it."""
    yield _decisions()
    with tempfile.TemporaryDirectory(prefix="gw-") as place:
        yield asyncio.run(_own_part(Path(place)))
    with tempfile.TemporaryDirectory(prefix="gw-") as place:
        yield asyncio.run(_whole_calls(Path(place)))


def _document(rules: Mapping[str, object]) -> Document:
    told = {
        "apiVersion": "gosuto/v1",
        "metadata": {"name": "pm"},
        "mcpServers": {"web": {"command": [sys.executable, "-c", _SERVER]}},
        "capabilities": rules,
    }
    return read_document("bench", json.dumps(told).encode())


def _decisions() -> Row:
    """Decide by rules that are all about the tool, on hosts, paths, patterns and numbers."""
    kinds = (
        {"url": {"prefix": "https://a{}.example.org/x"}},
        {"url": {"hosts": ["a{}.example.org"]}},
        {"url": {"regex": "a{}.*"}},
        {"n": {"range": {"min": 1}}},
    )
    text = json.dumps(
        {
            f"r{n}": {"tool": "web/*", "answer": "allow", "arguments": kinds[n % len(kinds)]}
            for n in range(_RULES)
        }
    )
    rules = json.loads(text)
    for name, rule in rules.items():
        rule["arguments"] = json.loads(json.dumps(rule["arguments"]).replace("{}", name))
    many, one = _document(rules), _document({"r": {"tool": "web/echo", "answer": "allow"}})
    rounds = [(_half_of(many), _half_of(one)) for _ in range(_ROUNDS)]
    of_many, of_one = (min(halves) for halves in zip(*rounds, strict=True))
    return Row(
        "gosuto.decide.500", of_many, "ms", "of one rule", of_one, 1.0, usual=_USUAL_ONE_RULE_MS
    )


def _half_of(document: Document) -> float:
    """Return the time in which half of the decisions by a document are taken, in milliseconds."""
    taken = []
    for number in range(_DECISIONS):
        args = {"url": f"https://b{number}.example.org/x/y", "n": number}
        begun = time.perf_counter()
        decide(document, "web/echo", args)
        taken.append((time.perf_counter() - begun) * 1000)
    return percentile(taken, 0.5)


class _Nothing:
    """Tools that do nothing."""

    def __init__(self, tool: Tool) -> None:
        self._offered = Offered({tool.full: tool})
        self._redactor = Redactor(())

    async def settled(self, within_s: float) -> None:
        pass

    def offered(self) -> Offered:
        return self._offered

    def redactor(self) -> Redactor:
        return self._redactor

    async def call(self, _: Tool, __: Mapping[str, Any]) -> Raw:
        return Raw((Block("text", "done"),), None, failed=False)


@asynccontextmanager
async def _audit_log(socket: Path) -> AsyncIterator[AuditClient]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.CancelledError):  # the end of the benchmark
            while await reader.readline():
                writer.write(b'{"sequence": 1, "hash": "00"}\n')
        writer.close()

    async with await asyncio.start_unix_server(answer, socket):
        client = AuditClient(socket)
        try:
            yield client
        finally:
            await client.close()


async def _own_part(place: Path) -> Row:
    tool = Tool("web", "echo", "", _SCHEMA, Checker(_SCHEMA))
    journal, clock = Journal(place / "calls.jsonl"), Clock()
    async with _audit_log(place / "audit.sock") as client:
        dispatcher = Dispatcher(
            _Nothing(tool), journal, Approvals(journal, clock), Auditor(client), clock
        )
        document = _document({"echo": {"tool": "web/echo", "answer": "allow"}})
        dispatcher.set_policy(read_policy("pm", canonical(document)))
        taken, rows_ = [], []
        for number in range(_CALLS):
            call = Call("web/echo", {"text": f"text {number}"}, "program", "t-1")
            begun = time.perf_counter()
            answer = await dispatcher.call(call)
            taken.append((time.perf_counter() - begun) * 1000)
            assert isinstance(answer, Result)
            begun = time.perf_counter()
            await client.record("bench", {"number": number})
            rows_.append((time.perf_counter() - begun) * 1000)
    return Row(
        "gateway.own.p50",
        percentile(taken, 0.5),
        "ms",
        "one audit row",
        percentile(rows_, 0.5),
        2.0,
    )


async def _whole_calls(place: Path) -> Row:
    direct = StdioServerParameters(command=sys.executable, args=["-c", _SERVER])
    async with (
        _gateway(place) as through,
        stdio_client(direct) as (read, write),
        ClientSession(read, write) as alone,
    ):
        await alone.initialize()
        ours: list[float] = []
        theirs: list[float] = []
        for number in range(_CALLS):
            for session, name, kept in ((through, "web__echo", ours), (alone, "echo", theirs)):
                begun = time.perf_counter()
                said = await session.call_tool(name, {"text": f"text {number}"})
                kept.append((time.perf_counter() - begun) * 1000)
                assert not said.isError
    more = percentile(ours, 0.5) - percentile(theirs, 0.5)
    return Row("gateway.more.p50", more, "ms", "the call direct", percentile(theirs, 0.5), 10.0)


@asynccontextmanager
async def _gateway(place: Path) -> AsyncIterator[ClientSession]:
    """Start a gateway as a process, and be its program."""
    tokens = {name: secrets.token_urlsafe() for name in ("gateway-token", "gateway-control-token")}
    credentials = place / "credentials"
    credentials.mkdir(mode=0o700)
    for name, value in tokens.items():
        (credentials / name).write_text(value)
    config = place / "gateway.json"
    facts = {
        "agent": "pm",
        "socket": str(place / "mcp.sock"),
        "control_socket": str(place / "control.sock"),
        "state_dir": str(place / "state"),
        "audit_socket": str(place / "audit.sock"),
    }
    config.write_text(json.dumps(facts))
    argv = [sys.executable, "-m", "agency", "agent", "gateway", "--config", str(config)]
    env = {"CREDENTIALS_DIRECTORY": str(credentials)}
    process = subprocess.Popen(argv, env=env, stderr=subprocess.DEVNULL)  # noqa: ASYNC220
    try:
        async with _audit_log(place / "audit.sock"):
            await _ready(place / "control.sock", tokens["gateway-control-token"])
            headers = {"Authorization": f"Bearer {tokens['gateway-token']}"}
            transport = httpx.AsyncHTTPTransport(uds=facts["socket"])
            async with (
                httpx.AsyncClient(transport=transport, headers=headers, timeout=60) as http,
                streamable_http_client("http://gateway/mcp", http_client=http) as streams,
                ClientSession(streams[0], streams[1]) as session,
            ):
                await session.initialize()
                yield session
    finally:
        process.terminate()
        process.wait()


def _is_there(path: Path) -> bool:
    return path.exists()


async def _ready(socket: Path, token: str) -> None:
    client = GatewayClient(socket, token)
    document = _document({"echo": {"tool": "web/echo", "answer": "allow"}})
    try:
        async with asyncio.timeout(60):
            while not _is_there(socket):  # noqa: ASYNC110 - another process makes it
                await asyncio.sleep(0.05)
            await client.set_policy(canonical(document))
            while not all(each.health == "ok" for each in (await client.status()).servers):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    finally:
        await client.close()
