"""A tool gateway as a real process, its program's MCP client, and its ACP process's client."""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from mcp import ClientSession, types
from mcp.client.streamable_http import streamable_http_client
from pydantic import SecretStr

from agency.canonical import canonical_json, sha256_hex
from agency.gosuto import canonical, read_document
from agency.protocols import ApprovalDecision, GatewayClient, GatewaySecrets, GatewayStatus

SCRIPT = Path(__file__).with_name("tool_server.py")
ALICE = "@alice:agency.example"


def server(kind: str, place: Path, **more: object) -> dict[str, object]:
    """A server of the document."""
    place.mkdir(exist_ok=True)
    return {"command": [sys.executable, str(SCRIPT), kind, str(place)], **more}


def document(
    servers: dict[str, object], rules: dict[str, object], ttl_s: int = 60, **more: object
) -> bytes:
    """The canonical bytes of a Gosuto of the agent pm."""
    told = {
        "apiVersion": "gosuto/v1",
        "metadata": {"name": "pm"},
        "approvals": {"approvers": [ALICE], "ttlSeconds": ttl_s},
        "mcpServers": servers,
        "capabilities": rules,
        **more,
    }
    return canonical(read_document("test", json.dumps(told).encode()))


def allow(tool: str, answer: str = "allow", **more: object) -> dict[str, object]:
    return {"tool": tool, "answer": answer, **more}


async def reached(wanted: Callable[[], object], within_s: float = 20) -> None:
    """Wait for what another process does."""
    async with asyncio.timeout(within_s):
        while not wanted():  # noqa: ASYNC110 - there is no event of another process
            await asyncio.sleep(0.02)


def told(result: types.CallToolResult) -> str:
    """All texts of a result."""
    return "\n".join(each.text for each in result.content if each.type == "text")


@dataclass
class Running:
    """A gateway that runs, or ran, in a directory."""

    place: Path
    audit_socket: Path | None = None
    token: str = field(default_factory=secrets.token_urlsafe)
    control_token: str = field(default_factory=secrets.token_urlsafe)
    process: "subprocess.Popen[str] | None" = None
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.place / "log"
        credentials = self.place / "credentials"
        credentials.mkdir(mode=0o700)
        (credentials / "gateway-token").write_text(self.token)
        (credentials / "gateway-control-token").write_text(self.control_token)
        self.config = self.place / "gateway.json"
        self.config.write_text(json.dumps(self.facts()))

    def facts(self) -> dict[str, object]:
        return {
            "agent": "pm",
            "socket": str(self.place / "mcp.sock"),
            "control_socket": str(self.control_socket),
            "state_dir": str(self.place / "state"),
            "audit_socket": None if self.audit_socket is None else str(self.audit_socket),
        }

    @property
    def control_socket(self) -> Path:
        return self.place / "control.sock"

    def argv(self, *words: str) -> list[str]:
        agency = [sys.executable, "-m", "agency", "agent", "gateway"]
        return [*agency, "--config", str(self.config), *words]

    @property
    def env(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "CREDENTIALS_DIRECTORY": str(self.place / "credentials"),
            "OWN_OF_THE_GATEWAY": "yes",
        }

    async def start(self) -> None:
        with self.log.open("a") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220 - forks and execs in milliseconds
                self.argv(), env=self.env, stderr=log, text=True
            )
        await self.answering()

    async def answering(self) -> GatewayStatus:
        return await self.until(lambda status: True)

    async def until(self, wanted: Any, within_s: float = 20) -> GatewayStatus:
        """Wait for a state of the gateway."""
        deadline, seen = time.monotonic() + within_s, None
        while True:
            try:
                async with self.control() as client:
                    seen = await client.status()
                if wanted(seen):
                    return seen
            except Exception:
                if time.monotonic() > deadline:
                    raise
            assert time.monotonic() < deadline, (seen, self.log.read_text()[-2000:])
            await asyncio.sleep(0.03)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    @contextlib.asynccontextmanager
    async def control(self, token: str | None = None) -> AsyncIterator[GatewayClient]:
        client = GatewayClient(self.control_socket, token or self.control_token)
        try:
            yield client
        finally:
            await client.close()

    async def give(self, content: bytes, ready: bool = True) -> None:
        """Hand over a policy, and wait for its servers."""
        async with self.control() as client:
            await client.set_policy(content)
        if ready:
            await self.until(lambda s: all(each.health == "ok" for each in s.servers))

    async def hold(self, values: dict[str, str], version: int = 1) -> None:
        digest = sha256_hex(canonical_json([sorted(values), version]))
        held = {name: SecretStr(value) for name, value in values.items()}
        async with self.control() as client:
            await client.set_secrets(GatewaySecrets(values=held, sha256=digest))

    async def decide(self, approval: str, decision: str, digest: str, by: str = ALICE) -> None:
        message = ApprovalDecision.model_validate(
            {"decision": decision, "digest": digest, "decided_by": by}
        )
        async with self.control() as client:
            await client.decide(approval, message)

    def http(self, token: str | None = None) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(self.place / "mcp.sock")),
            headers={"Authorization": f"Bearer {token or self.token}"},
            timeout=60,
        )

    @contextlib.asynccontextmanager
    async def program(self) -> AsyncIterator[ClientSession]:
        """The agent's program: the SDK's own client."""
        async with (
            self.http() as http,
            streamable_http_client("http://gateway/mcp", http_client=http) as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            yield session


@contextlib.contextmanager
def running(place: Path, **more: Any) -> Iterator[Running]:
    gateway = Running(place, **more)
    try:
        yield gateway
    finally:
        if gateway.process is not None and gateway.process.poll() is None:
            gateway.process.kill()
            gateway.process.wait()
