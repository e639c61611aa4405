"""Stage of a trial: gateway with its servers, proxy and model, in this process, for a while."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from agency.agent.gateway.calls.auditing import Auditor
from agency.agent.gateway.core import Gateway
from agency.agent.gateway.front import MCP_PATH, serve_front
from agency.agent.models.client import Endpoint
from agency.agent.programs.gateway_tools import GatewayTools
from agency.agent.programs.tools import Tools
from agency.agent.proxy.process import serving as serving_proxy
from agency.agent.scripted.script import Script
from agency.agent.scripted.server import serving as serving_script
from agency.agent.trying.plan import KEY, RealModel, proxy_config
from agency.agent.trying.watching import Watch
from agency.canonical import canonical_json, sha256_hex
from agency.clock import Clock
from agency.errors import BadInputError
from agency.gosuto import Document, canonical
from agency.ports import LOOPBACK
from agency.protocols import GatewayServer
from agency.secrets import SecretValue
from agency.unix_sockets import listen_at

_START_S = 30.0
_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Cast:
    """Parts of a trial: policy, model (`real` is None for the script), secrets of servers."""

    document: Document
    script: Script
    real: RealModel | None
    secrets: Mapping[str, SecretValue]
    tokens_per_day: int


@dataclass(frozen=True, slots=True)
class Stage:
    """Parts that the program needs, and that the trial looks at."""

    gateway: Gateway
    tools: Tools
    model: Endpoint

    @property
    def servers(self) -> tuple[GatewayServer, ...]:
        """State of each MCP server."""
        return self.gateway.status().servers


@asynccontextmanager
async def staged(cast: Cast, place: Path, clock: Clock, watch: Watch) -> AsyncIterator[Stage]:
    """Start every part below a directory, and end them all with the block.

    Raises:
        AgencyError: one of them cannot start.
    """
    token, model_token = (SecretValue(secrets.token_urlsafe(32)) for _ in range(2))
    async with AsyncExitStack() as stack:
        agent = cast.document.metadata.name
        gateway = Gateway(agent, place / "gateway", clock, Auditor(watch), (token, model_token))
        stack.push_async_callback(gateway.close)
        await _give(gateway, cast)
        front = serve_front(
            gateway.dispatcher,
            token.reveal(),
            listen_at(place / "mcp.sock", hint="free its directory"),
        )
        await stack.enter_async_context(front)
        url = ""
        if cast.real is None:
            listening = socket.create_server((LOOPBACK, 0))
            listening.setblocking(False)
            url = f"http://{LOOPBACK}:{listening.getsockname()[1]}"
            await stack.enter_async_context(serving_script(cast.script, listening))
        digest = sha256_hex(model_token.reveal().encode())
        config = proxy_config(cast.document, cast.real, url, place, digest, cast.tokens_per_day)
        key = None if cast.real is None else cast.real.key
        keys = {} if key is None else {KEY: key}
        await stack.enter_async_context(serving_proxy(config, keys, clock, watch.model_called))
        await _ready(gateway, clock)
        wire = "openai" if cast.real is None else cast.real.format
        yield Stage(
            gateway,
            GatewayTools(f"http://gateway{MCP_PATH}", token, place / "mcp.sock"),
            Endpoint("http://proxy", model_token, wire, str(place / "proxy.sock")),
        )


async def _give(gateway: Gateway, cast: Cast) -> None:
    """Hand over secrets, then the policy, as the agent's ACP process does."""
    unknown = sorted(set(cast.secrets) - set(cast.document.secrets))
    if unknown:
        known = ", ".join(cast.document.secrets) or "none"
        raise BadInputError(f"the Gosuto has no secret {unknown[0]}", hint=f"it has: {known}")
    await gateway.start()
    gateway.set_secrets(dict(cast.secrets), sha256_hex(canonical_json(sorted(cast.secrets))))
    gateway.set_policy(canonical(cast.document))


async def _ready(gateway: Gateway, clock: Clock) -> None:
    """Wait until no server is starting any more, for a while at most."""
    until = clock.steady() + _START_S
    while clock.steady() < until:
        if all(each.health != "starting" for each in gateway.status().servers):
            return
        await asyncio.sleep(_LOOK_S)
