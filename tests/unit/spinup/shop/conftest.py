"""A simulated machine: its identity, its systemctl, and services on real ports."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from observing import Machine, Take, show_units, taker
from serving import Routes, Serve, Service

from agency.spinup.probes.shop import client, edge


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], object]:
    """Show every unit as active; what is called sets other states."""
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    return show_units(tmp_path / "bin").write_text


@pytest.fixture
def take(machine: Machine, states: object) -> Take:
    return taker(machine)


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
