"""Whether the control plane is ready: given the time it needs after its start, and no more."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from agency.secrets import SecretValue
from agency.spinup.probes import control

TOKEN = SecretValue("the-token")


@asynccontextmanager
async def control_plane(unready: int) -> AsyncIterator[tuple[str, list[int]]]:
    """One that is not ready yet for so many questions; its URL, and how it answered."""
    answered: list[int] = []

    async def ready(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == f"Bearer {TOKEN.reveal()}"
        is_ready = len(answered) >= unready
        answered.append(200 if is_ready else 503)
        body = {"ready": is_ready, "versions": {"agency": "0.1.0"}}
        return web.json_response(body, status=answered[-1])

    app = web.Application()
    app.router.add_get("/ready", ready)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", answered
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("unready", [0, 2])
async def test_it_is_asked_until_it_is_ready(monkeypatch, unready) -> None:
    monkeypatch.setattr(control, "_POLL_S", 0.0)
    async with control_plane(unready) as (url, answered), aiohttp.ClientSession() as session:
        seen = await control.ready(session, url, TOKEN)
    assert answered == [503] * unready + [200]
    assert (seen["status"], seen["ready"], seen["version"]) == (200, True, "0.1.0")
    assert seen["url"] == f"{url}/ready"


async def test_one_that_never_is_ready_is_seen_as_it_is(monkeypatch) -> None:
    monkeypatch.setattr(control, "_POLL_S", 0.0)
    async with control_plane(10**9) as (url, answered), aiohttp.ClientSession() as session:
        seen = await control.ready(session, url, TOKEN, within_s=0.05)
    assert (seen["status"], seen["ready"]) == (503, False)
    assert len(answered) > 1
