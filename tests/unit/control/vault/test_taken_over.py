"""What an agent that was taken over says of its secrets, over HTTP, and what it can do by that."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from vaulting import CANARY, Safe, wanted

from agency.clock import iso
from agency.control.acp_client import AcpClient
from agency.control.conditions import Code, Conditions
from agency.control.runtimes.base import Endpoint
from agency.control.service.handing import AcpAgents
from agency.control.vault.delivery import Delivery
from agency.secrets import SecretValue

LATER = iso(4e9)
NO_MOMENT = "2026-99-99T99:99Z"


def report(agent: str, expires_at: str) -> dict[str, Any]:
    facts = dict.fromkeys(("trace", "project", "config_sha256", "gateway"))
    return {
        "agent": agent,
        "role": agent,
        "version": "1",
        "pid": 4,
        "incarnation": "i-1",
        "started_at": iso(0),
        "uptime_s": 1,
        "mcp_servers": [],
        "tasks": [],
        **facts,
        "secrets": [{"name": "github", "version": 1, "expires_at": expires_at}],
    }


class Liars:
    """Agents that run, and say of their secret that it expires at these moments."""

    def __init__(self, **says: str) -> None:
        self.says, self.endpoints = says, dict[str, Endpoint]()
        self.asked = Counter[str]()
        self.again = asyncio.Event()  # developer was asked twice: the first pass is over

    async def is_running(self, _agent: str) -> bool:
        return True

    def endpoint(self, agent: str) -> Endpoint:
        return self.endpoints[agent]

    def app(self, agent: str) -> web.Application:
        async def answer(_: web.Request) -> web.Response:
            self.asked[agent] += 1
            if self.asked["developer"] == 2:
                self.again.set()
            return web.json_response(report(agent, self.says[agent]))

        app = web.Application()
        app.router.add_get("/v1/status", answer)
        return app


async def never(_agent: str) -> None:
    raise AssertionError("nobody needs a socket here")


async def two_passes(delivery: Delivery, liars: Liars) -> None:
    """Run the deliveries until their second pass."""
    running = asyncio.create_task(delivery.run())
    again = asyncio.create_task(liars.again.wait())
    await asyncio.wait([running, again], return_when=asyncio.FIRST_COMPLETED)
    for task in (running, again):
        task.cancel()
    ended, _ = await asyncio.gather(running, again, return_exceptions=True)
    assert isinstance(ended, asyncio.CancelledError), f"the deliveries ended: {ended!r}"


@pytest.mark.parametrize(
    ("says", "undelivered"), [(LATER, []), (NO_MOMENT, [(Code.SECRETS_UNDELIVERED, "pm")])]
)
async def test_a_moment_that_is_none_ends_no_delivery(
    safe: Safe, says: str, undelivered: list[tuple[Code, str]]
) -> None:
    conditions, liars = Conditions(safe.clock), Liars(pm=says, developer=LATER)
    await safe.vault().put(wanted("github"), SecretValue(CANARY))
    for agent in liars.says:
        await safe.vault().bind("github", agent, "@alice:x.org")
    async with (
        TestServer(liars.app("pm"), host="127.0.0.1") as pm,
        TestServer(liars.app("developer"), host="127.0.0.1") as developer,
        AcpClient() as acp,
    ):
        for name, server in (("pm", pm), ("developer", developer)):
            url = f"http://127.0.0.1:{server.port}"
            liars.endpoints[name] = Endpoint(url, f"token-of-{name}", name)
        lifecycle: Any = SimpleNamespace(is_running=liars.is_running)
        runtime: Any = SimpleNamespace(endpoint=liars.endpoint)
        delivery = Delivery(
            leases=safe.leases(),
            agents=AcpAgents(lifecycle, runtime, acp, never),
            conditions=conditions,
            known=lambda: ("pm", "developer"),
            new_trace=lambda: "t-1",
            check_s=0.01,
        )
        await two_passes(delivery, liars)
    assert [(each.code, each.subject) for each in conditions.present()] == undelivered
