"""What the tests of ACP version 1 share: an agent behind real HTTP, and a caller with its token."""

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from agency.agent.server import LIMITS, build_app
from agency.agent.state import AgentState
from agency.clock import Clock
from agency.protocols import AgentConfig, Problem

CONFIG = AgentConfig(name="pm", role="pm", port=20001, project="new-app", trace="trace-1")


@dataclass
class Said:
    """An answer, read to its end."""

    status: int
    headers: "aiohttp.typedefs.LooseHeaders"
    body: bytes

    @property
    def problem(self) -> Problem:
        return Problem.model_validate_json(self.body)


@dataclass
class Caller:
    """Sends requests with the agent's token; each change gets a key of its own."""

    url: str
    token: str
    session: aiohttp.ClientSession
    keys: int = field(default=0)

    async def ask(self, method: str, path: str, *, key: str | None = "", **options) -> Said:
        """`key` is a new one if empty, and none if None."""
        headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
        if method != "GET" and key is not None:
            self.keys += 1
            headers["Idempotency-Key"] = key or f"test-key-{self.keys:04}"
        async with self.session.request(
            method, self.url + path, headers=headers, **options
        ) as answer:
            return Said(answer.status, answer.headers, await answer.read())


@dataclass
class Agent:
    state: AgentState
    caller: Caller


Agents = Callable[..., "AsyncIterator[Agent]"]


@pytest.fixture
def agents() -> Agents:
    """Makes agents: `async with agents(redeem=...) as agent`."""

    @asynccontextmanager
    async def agents(*, body_s: float = 10.0, clock: Clock | None = None, **parts):
        token, clock = secrets.token_urlsafe(), clock or Clock()
        state = AgentState("pm", clock, **parts)
        app = build_app(CONFIG, token, clock, state=state, limits=replace(LIMITS, body_s=body_s))
        async with (
            TestServer(app, host="127.0.0.1") as server,
            aiohttp.ClientSession() as session,
        ):
            yield Agent(state, Caller(f"http://127.0.0.1:{server.port}", token, session))

    return agents


@pytest.fixture
async def agent(agents: Agents) -> AsyncIterator[Agent]:
    async with agents() as agent:
        yield agent
