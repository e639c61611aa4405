"""A real control plane over a stand-in runtime, whose agents need long to become healthy.

python -m benchmarks.slow_control CONFIG SECONDS [DESCRIPTOR...]

The agents are one HTTP server in this process that speaks ACP: what is measured is how the control
plane waits, not how fast Python starts.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from agency.clock import Clock, iso
from agency.control.config import ControlConfig, load_config
from agency.control.runtimes.base import Endpoint, RuntimeStatus, StartRequest, State, Usage
from agency.control.service.serving import control_plane
from agency.control.service.shared import Tokens
from agency.listening import Inherited, inherited, listen
from agency.protocols.acp import HEALTH_PATH, STATUS_PATH, Health, Status
from agency.secrets.delivery.credentials import read_credential
from agency.secrets.values import SecretValue


@dataclass
class StandIn:
    """Agents that only seem to run. One is healthy `delay_s` after it was started."""

    port: int
    delay_s: float
    started: dict[str, tuple[StartRequest, float]] = field(default_factory=dict)

    def kind_of(self, _name: str) -> str:
        return "stand-in"

    async def start(self, request: StartRequest) -> RuntimeStatus:
        self.started.setdefault(request.name, (request, time.time()))
        return await self.status(request.name)

    async def stop(self, name: str) -> RuntimeStatus:
        self.started.pop(name, None)
        return await self.status(name)

    async def remove(self, name: str) -> None:
        """Stop an agent; nothing is kept of it."""
        await self.stop(name)

    async def restart(self, request: StartRequest) -> RuntimeStatus:
        await self.stop(request.name)
        return await self.start(request)

    async def status(self, name: str) -> RuntimeStatus:
        return RuntimeStatus(name, State.RUNNING if name in self.started else State.STOPPED)

    async def list(self) -> tuple[RuntimeStatus, ...]:
        return tuple([await self.status(name) for name in sorted(self.started)])

    async def usage(self, _name: str) -> Usage:
        return Usage()

    async def log_tail(self, _name: str, _lines: int) -> tuple[str, ...]:
        return ()

    def secrets(self) -> tuple[SecretValue, ...]:
        return ()

    def endpoint(self, name: str) -> Endpoint | None:
        return Endpoint(f"http://127.0.0.1:{self.port}/{name}", "token", name)

    async def close(self) -> None:
        self.started.clear()

    def app(self) -> web.Application:
        """Start what answers for the agents."""

        async def health(request: web.Request) -> web.Response:
            name = request.match_info["name"]
            _, since = self.started[name]
            well = time.time() - since >= self.delay_s
            answer = Health(status="ok" if well else "starting", agent=name)
            return web.Response(text=answer.model_dump_json(), content_type="application/json")

        async def status(request: web.Request) -> web.Response:
            asked, since = self.started[request.match_info["name"]]
            answer = Status(
                agent=asked.name,
                role=asked.role,
                version="0",
                pid=1,
                project=asked.project,
                started_at=iso(since),
                uptime_s=time.time() - since,
                trace=asked.trace,
            )
            return web.Response(text=answer.model_dump_json(), content_type="application/json")

        app = web.Application()
        app.router.add_get(f"/{{name}}{HEALTH_PATH}", health)
        app.router.add_get(f"/{{name}}{STATUS_PATH}", status)
        return app


async def serve(config: ControlConfig, delay_s: float, handed: Inherited) -> None:
    """Serve until SIGTERM, on the sockets that were handed over."""
    runtime = StandIn(config.agents[0].port, delay_s)
    runner = web.AppRunner(runtime.app(), access_log=None)
    await runner.setup()
    listening = handed.take("127.0.0.1", runtime.port) or listen(runtime.port)
    await web.SockSite(runner, listening).start()
    tokens = Tokens(read_credential("matrix-as-token"), read_credential("matrix-hs-token"))
    async with control_plane(
        config, tokens, clock=Clock(), make_runtime=lambda *_: runtime, handed=handed
    ) as plane:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, plane.stopping.set)
        await plane.run(tokens)
    await runner.cleanup()


if __name__ == "__main__":
    given = inherited(map(int, sys.argv[3:]))
    asyncio.run(serve(load_config(Path(sys.argv[1])), float(sys.argv[2]), given))
