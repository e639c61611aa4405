"""The agent's ACP process and its gateway, both real: policy and approvals over both."""

import asyncio
import json
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from binding import free_port
from gatewaying import ALICE, Running, allow, document, reached, server

from agency.canonical import sha256_hex
from agency.protocols import AgentStatus, ConfigDocument, PendingApprovals


@dataclass
class Agent:
    """The ACP process of the agent pm, and whoever asks it."""

    gateway: Running
    port: int
    token: str = field(default_factory=secrets.token_urlsafe)
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        place = self.gateway.place
        (place / "credentials" / "acp-token").write_text(self.token)
        config = place / "agent.json"
        control = str(self.gateway.control_socket)
        facts = {"name": "pm", "role": "pm", "port": self.port, "gateway_socket": control}
        config.write_text(json.dumps(facts))
        argv = [sys.executable, "-m", "agency", "agent", "run", "--config", str(config)]
        with (place / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(argv, env=self.gateway.env, stderr=log)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.token}"}
        if method != "GET":
            headers["Idempotency-Key"] = secrets.token_hex(8)
        async with asyncio.timeout(30):
            while True:
                try:
                    async with (
                        aiohttp.ClientSession(headers=headers) as session,
                        session.request(
                            method, f"http://127.0.0.1:{self.port}{path}", json=body
                        ) as answer,
                    ):
                        return answer.status, await answer.json()
                except aiohttp.ClientConnectorError:
                    await asyncio.sleep(0.05)

    async def apply(self, content: bytes) -> None:
        body = json.loads(ConfigDocument.of(content).model_dump_json())
        assert (await self.ask("PUT", "/v1/config", body))[0] == 200

    async def status(self) -> AgentStatus:
        return AgentStatus.model_validate((await self.ask("GET", "/v1/status"))[1])

    async def until(self, wanted: Callable[[AgentStatus], object]) -> AgentStatus:
        async with asyncio.timeout(20):
            while not wanted(seen := await self.status()):  # noqa: ASYNC110 - a process
                await asyncio.sleep(0.05)
        return seen

    async def call(self, tool: str, **args: object) -> tuple[int, Any]:
        return await self.ask("POST", "/v1/tools/call", {"tool": tool, "arguments": args})


@pytest.fixture
async def agent(gateway: Running) -> AsyncIterator[Agent]:
    port = free_port()
    agent = Agent(gateway, port)
    agent.start()
    yield agent
    agent.kill()


def ready(content: bytes) -> Callable[[AgentStatus], object]:
    def wanted(status: AgentStatus) -> object:
        told = status.gateway
        here = told is not None and told.policy_sha256 == sha256_hex(content)
        return here and all(each.health == "ok" for each in status.mcp_servers)

    return wanted


async def test_a_configuration_reaches_the_gateway_and_decides_its_calls(
    agent: Agent, place: Path
) -> None:
    content = document(
        {"web": server("good", place / "web")},
        {"echo": allow("web/echo"), "fetch": allow("web/fetch", "ask")},
    )
    await agent.apply(content)
    status = await agent.until(ready(content))
    assert [(each.name, each.health) for each in status.mcp_servers] == [("web", "ok")]
    code, said = await agent.call("web/echo", text="hi")
    assert (code, said["agent"], said["failed"]) == (200, "pm", False)
    assert "\nhi\n" in said["content"]
    code, said = await agent.call("web/erase", text="hi")
    assert (code, said["code"]) == (403, "policy")

    code, said = await agent.call("web/fetch", url="https://a.example/")
    assert (code, said["code"]) == (409, "asked")
    listed = PendingApprovals.model_validate((await agent.ask("GET", "/v1/approvals"))[1])
    (asked,) = listed.approvals
    assert (said["failed"], asked.shown) == ([asked.id], '{"url": "https://a.example/"}')
    path = f"/v1/approvals/{asked.id}/decision"
    decision = {"decision": "approve", "digest": asked.digest, "decided_by": ALICE}
    for change, status_ in (
        ({"decided_by": "@mallory:agency.example"}, 403),
        ({"digest": "0" * 64}, 409),
    ):
        assert (await agent.ask("POST", path, {**decision, **change}))[0] == status_
    assert (await agent.ask("POST", path, decision))[0] == 200
    assert (await agent.ask("POST", path, decision))[0] == 409
    other = await agent.ask("POST", "/v1/approvals/ask-other/decision", decision)
    assert other[0] == 404
    code, said = await agent.call("web/fetch", url="https://a.example/")
    assert code == 200


async def test_an_end_of_either_side_loses_no_approval_and_no_policy(
    agent: Agent, place: Path
) -> None:
    content = document({"web": server("good", place / "web")}, {"echo": allow("web/echo", "ask")})
    await agent.apply(content)
    await agent.until(ready(content))
    assert (await agent.call("web/echo", text="hi"))[0] == 409
    before = (await agent.ask("GET", "/v1/approvals"))[1]["approvals"]
    agent.gateway.kill()
    away = await agent.until(lambda s: s.gateway and s.gateway.health == "failing")
    assert away.gateway is not None
    assert "is not there" in away.gateway.reason
    assert [each.health for each in away.mcp_servers] == ["failing"]
    assert (await agent.ask("GET", "/v1/approvals"))[0] == 503
    assert (await agent.call("web/echo", text="hi"))[1]["code"] == "unreachable"
    await agent.gateway.start()
    agent.kill()
    agent.start()
    await agent.until(lambda s: s.gateway and s.gateway.policy_sha256 == sha256_hex(content))
    assert (await agent.ask("GET", "/v1/approvals"))[1]["approvals"] == before
    # And a gateway that lost all gets it anew from the ACP process.
    await agent.apply(content)
    agent.gateway.kill()
    (place / "state" / "policy.json").unlink()
    await agent.gateway.start()
    await agent.until(ready(content))


@pytest.mark.thorough
async def test_the_gateway_is_heard_of_in_the_events(agent: Agent, place: Path) -> None:
    content = document({"web": server("good", place / "web")}, {"echo": allow("web/echo", "ask")})
    await agent.apply(content)
    await agent.until(ready(content))
    headers = {"Authorization": f"Bearer {agent.token}"}
    async with (
        asyncio.timeout(20),
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"http://127.0.0.1:{agent.port}/v1/events") as events,
    ):
        assert (await agent.call("web/echo", text="hi"))[0] == 409
        async for line in events.content:
            if b"approvals.changed" in line:
                break


async def test_a_call_in_flight_when_the_gateway_ends_is_not_made_again_by_its_key(
    agent: Agent, place: Path
) -> None:
    content = document({"web": server("good", place / "web")}, {"echo": allow("web/echo")})
    await agent.apply(content)
    await agent.until(ready(content))
    task = asyncio.create_task(agent.call("web/echo", text="wait"))
    await reached((place / "web" / "waiting").exists)
    agent.gateway.kill()
    code, said = await task
    assert (code, said["code"]) == (409, "outcome-unknown")
    assert len((place / "web" / "calls").read_text().splitlines()) == 1


def test_without_the_token_of_the_gateway_the_agent_does_not_start(place: Path) -> None:
    gateway = Running(place)
    (place / "credentials" / "acp-token").write_text("x" * 32)
    (place / "credentials" / "gateway-control-token").unlink()
    config = place / "agent.json"
    facts = {"name": "pm", "role": "pm", "port": 20001, "gateway_socket": "/nowhere"}
    config.write_text(json.dumps(facts))
    argv = [sys.executable, "-m", "agency", "agent", "run", "--config", str(config)]
    env = {**gateway.env, "PATH": os.environ["PATH"]}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "gateway-control-token" in done.stderr) == (3, True)
