"""Registering people: whatever the homeserver does instead is a finding, not a defect of ours."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from agency.secrets.values import SecretValue
from agency.spinup.scenario import accounts
from agency.spinup.scenario.accounts import ConversationError, create_account

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
PATH = "/_synapse/admin/v1/register"


async def nonce(_: web.Request) -> web.Response:
    return web.json_response({"nonce": "once"})


async def accept(request: web.Request) -> web.Response:
    said = await request.json()
    assert said["nonce"] == "once"
    assert said["mac"] == "c8aa4db73d9781c1d1096f525af41ad3e6d7b24b"
    return web.json_response({})


async def refuse(_: web.Request) -> web.Response:
    return web.json_response({"errcode": "M_FORBIDDEN"}, status=403)


async def hang_up(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def no_nonce(_: web.Request) -> web.Response:
    return web.json_response({})


async def a_list(_: web.Request) -> web.Response:
    return web.json_response([])


async def no_json(_: web.Request) -> web.Response:
    return web.Response(text="{", content_type="application/json")


async def a_page(_: web.Request) -> web.Response:
    return web.Response(text="bad gateway", status=502, content_type="text/html")


@asynccontextmanager
async def homeserver(get: Answer, post: Answer) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get(PATH, get)
    app.router.add_post(PATH, post)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def register(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        await create_account(session, url, "ann", SecretValue("word"), SecretValue("shared"))


async def test_somebody_is_registered() -> None:
    async with homeserver(nonce, accept) as url:
        await register(url)


@pytest.mark.parametrize(
    ("get", "post", "words"),
    [
        (nonce, refuse, "HTTP 403 M_FORBIDDEN"),
        (nonce, hang_up, "ServerDisconnectedError"),
        (nonce, a_page, "HTTP 502 without a reason"),
        (hang_up, accept, "ServerDisconnectedError"),
        (no_nonce, accept, "KeyError"),
        (a_list, accept, "TypeError"),
        (no_json, accept, "JSONDecodeError"),
        (a_page, accept, "ContentTypeError"),
    ],
)
async def test_what_a_dying_homeserver_does_is_a_finding(get, post, words) -> None:
    async with homeserver(get, post) as url:
        with pytest.raises(ConversationError, match=words) as caught:
            await register(url)
    assert caught.value.exit_code == 1


async def test_a_homeserver_that_says_nothing_is_one_too(monkeypatch) -> None:
    monkeypatch.setattr(accounts, "_REGISTER_S", 0.05)
    accepted: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: accepted.append(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        with pytest.raises(ConversationError, match="no answer within"):
            await register(f"http://127.0.0.1:{port}")
    finally:
        for writer in accepted:
            writer.close()
        server.close()


async def test_where_nobody_listens_is_one_too() -> None:
    async with homeserver(nonce, accept) as url:
        pass
    with pytest.raises(ConversationError, match="ClientConnectorError"):
        await register(url)
