"""The Docker client's errors, against a SIMULATED engine on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from agency import docker
from agency.docker import DockerError, answers, call, docker_at, require_swarm
from agency.errors import PrerequisiteError

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
VERSION = {"ApiVersion": "1.44", "Version": "26.0"}


@asynccontextmanager
async def engine(place: Path, answer: Answer) -> AsyncIterator[str]:
    """An engine that tells its version and answers the rest as given."""

    async def version(_: web.Request) -> web.Response:
        return web.json_response(VERSION)

    app = web.Application()
    app.router.add_get("/version", version)
    app.router.add_get("/{api}/version", version)
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(place / "docker.sock")).start()
    try:
        yield f"unix://{place}/docker.sock"
    finally:
        await runner.cleanup()


def gives(body: bytes, status: int = 200, kind: str = "application/json") -> Answer:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, status=status, content_type=kind)

    return answer


async def hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def test_a_call_is_answered(tmp_path):
    async with engine(tmp_path, gives(b'{"ID": "x"}')) as url, docker_at(url) as client:
        with answers(url):
            assert await call(client, "POST", "swarm/init", data={}) == {"ID": "x"}


async def test_a_refusal_keeps_its_status(tmp_path):
    refused = gives(b'{"message": "port is in use"}', 503)
    async with engine(tmp_path, refused) as url, docker_at(url) as client:
        with pytest.raises(DockerError, match="port is in use") as caught, answers(url):
            await call(client, "POST", "swarm/init", data={})
    assert (caught.value.status, int(caught.value.exit_code)) == (503, 1)


async def test_a_connection_that_is_lost_is_a_missing_engine(tmp_path):
    async with engine(tmp_path, hang_up) as url, docker_at(url) as client:
        with pytest.raises(PrerequisiteError) as caught, answers(url):
            await call(client, "POST", "swarm/init", data={})
    assert "systemctl start docker" in (caught.value.hint or "")


async def test_silence_ends_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr(docker, "_TIMEOUT", aiohttp.ClientTimeout(total=0.3))
    ending = asyncio.Event()

    async def silent(_: web.Request) -> web.Response:
        await ending.wait()
        return web.Response()

    async with engine(tmp_path, silent) as url, docker_at(url) as client:
        with pytest.raises(DockerError, match="does not answer in time") as caught, answers(url):
            await call(client, "POST", "swarm/init", data={})
        ending.set()
    assert (caught.value.status, int(caught.value.exit_code)) == (None, 1)


async def test_without_an_engine_it_says_how_to_start_one(tmp_path):
    with pytest.raises(PrerequisiteError, match=r".") as caught:
        async with docker_at(f"unix://{tmp_path}/none.sock"):
            pass
    assert "systemctl start docker" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("info", "manages"),
    [(b'{"Swarm": {"ControlAvailable": true}}', True), (b'{"Swarm": {}}', False), (b"{}", False)],
)
async def test_a_swarm_is_required_where_it_is_needed(tmp_path, info, manages):
    async with engine(tmp_path, gives(info)) as url, docker_at(url) as client:
        if manages:
            await require_swarm(client, url)
            return
        with pytest.raises(PrerequisiteError) as caught:
            await require_swarm(client, url)
    assert "swarm-init" in (caught.value.hint or "")
