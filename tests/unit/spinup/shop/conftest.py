"""A simulated machine: its identity, its systemctl, and services on real ports."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from serving import DOMAIN, Routes, Serve, Service, Take

from agency.clock import Clock
from agency.spinup.probes.probe import Identity, run
from agency.spinup.probes.shop import client, edge
from agency.spinup.record import ProbeRecord, Recorder

SYSTEMCTL = """#!/usr/bin/python3
# Simulated: shows every unit as active, but those that the file `states` beside it names.
import json, pathlib, sys
states = json.loads((pathlib.Path(__file__).parent / "states").read_text())
blocks = []
for name in sys.argv[sys.argv.index("--") + 1 :]:
    load, active = states.get(name, ("loaded", "active"))
    blocks.append(f"Id={name}\\nLoadState={load}\\nActiveState={active}\\nSubState=running")
print("\\n\\n".join(blocks))
"""


@dataclass
class Machine:
    """What a probe knows of its machine; nothing else of `Here` is asked for."""

    identity: Identity = field(default_factory=lambda: Identity("example", DOMAIN))


class _Quiet:
    def step_began(self, name: str) -> None: ...
    def step_ended(self, record: Any) -> None: ...
    def probe_ended(self, record: Any) -> None: ...


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a simulated systemctl first on PATH; what is called sets the states that it shows."""
    place = tmp_path / "bin"
    place.mkdir()
    (place / "systemctl").write_text(SYSTEMCTL)
    (place / "systemctl").chmod(0o755)
    (place / "states").write_text("{}")
    monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")

    def put(text: str) -> None:
        (place / "states").write_text(text)

    return put


@pytest.fixture
def take(machine: Machine, states: object) -> Take:
    """Take a probe on the simulated machine, as a spin-up does; its rule judges it."""

    async def take(name: str, **told: Any) -> ProbeRecord:
        recorder = Recorder("ssh", Clock(), _Quiet())
        await recorder.probe(name, lambda: run(machine, name, told))  # type: ignore[arg-type]
        return recorder.probes[0]

    return take


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (client, edge):
        monkeypatch.setattr(module, "ANSWER_S", 0.4)


@pytest_asyncio.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serve routes on a port of loopback: a path leads to JSON data, or to a function."""
    runners = []

    async def serve(routes: Routes, *, tls: ssl.SSLContext | None = None) -> Service:
        asked: list[web.BaseRequest] = []

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            asked.append(request)
            found = routes.get(request.path, routes.get("*"))
            if found is None:
                return web.json_response({"error": "not found"}, status=404)
            if callable(found):
                response: web.StreamResponse = await found(request)
                return response
            return web.json_response(found, headers={"Server": "simulated"})

        server = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
        await server.setup()
        site = web.TCPSite(server, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        runners.append(server)
        return Service(server.addresses[0][1], asked)

    yield serve
    for server in runners:
        await server.cleanup()
