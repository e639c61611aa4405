"""The ACP client against servers that behave, misbehave, or are not there."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from binding import free_port

from agency import listening
from agency.agent.server import build_app
from agency.clock import Clock
from agency.control.acp_client import AcpClient, AcpError, AcpUnreachableError
from agency.control.runtimes.base import Endpoint
from agency.errors import InternalError
from agency.protocols import acp

CONFIG = acp.AgentConfig(name="pm", role="pm", port=20001, trace="trace-start")
TRACE = "trace-1"
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
def token() -> str:
    return secrets.token_urlsafe()


@pytest.fixture
async def client() -> AsyncIterator[AcpClient]:
    async with AcpClient(timeout_s=20) as client:
        yield client


@asynccontextmanager
async def serving(app: web.Application, token: str) -> AsyncIterator[Endpoint]:
    async with TestServer(app, host="127.0.0.1") as server:
        yield Endpoint(f"http://127.0.0.1:{server.port}", token, "pm")


def answering(answer: Answer) -> web.Application:
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    return app


def saying(body: bytes, status: int = 200, **headers: str) -> web.Application:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, status=status, headers=headers)

    return answering(answer)


async def yes() -> bool:
    return True


async def no() -> bool:
    return False


GOOD = json.dumps({"status": "ok", "agent": "pm"}).encode()


async def test_a_real_agent(client: AcpClient, token: str) -> None:
    async with serving(build_app(CONFIG, token, Clock()), token) as endpoint:
        assert await client.health(endpoint, TRACE) == acp.Health(status="ok", agent="pm")
        status = await client.status(endpoint, TRACE)
        assert (status.agent, status.trace, status.project) == ("pm", "trace-start", None)


async def test_the_trace_is_sent(client: AcpClient, token: str) -> None:
    seen: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers.get(acp.TRACE_HEADER))
        return web.Response(body=GOOD)

    async with serving(answering(answer), token) as endpoint:
        await client.health(endpoint, TRACE)
        with pytest.raises(InternalError, match="trace"):
            await client.health(endpoint, "a\r\nb: c")
    assert seen == [TRACE]


async def test_wrong_token(client: AcpClient, token: str) -> None:
    async with serving(build_app(CONFIG, token, Clock()), token) as endpoint:
        wrong = Endpoint(endpoint.url, secrets.token_urlsafe(), "pm")
        with pytest.raises(AcpError, match="token") as caught:
            await client.health(wrong, TRACE)
    assert caught.value.where == f"{endpoint.url}/health"
    assert "restart" in str(caught.value.hint)
    assert wrong.token not in str(caught.value)


async def test_another_agent_answers(client: AcpClient, token: str) -> None:
    other = acp.AgentConfig(name="developer", role="developer", port=20001)
    async with serving(build_app(other, token, Clock()), token) as endpoint:
        with pytest.raises(AcpError, match="'developer', not 'pm'"):
            await client.health(endpoint, TRACE)
        anyone = Endpoint(endpoint.url, token)
        assert (await client.health(anyone, TRACE)).agent == "developer"


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 200, "malformed Health"),
        (b"<html>", 200, "malformed Health"),
        (b"[]", 200, "malformed Health"),
        (b'{"status": "fine", "agent": "pm"}', 200, "malformed Health: status"),
        (b'{"status": "ok", "agent": "pm", "more": 1}', 200, "malformed Health: more"),
        (b'{"error": "no such path"}', 404, "404: no such path"),
        (b'{"error": "red\x1b[31m"}', 500, "500: no reason given"),
        (b'{"error": "\\u202ered\\u001b[31m"}', 500, "500: red"),
        (b"", 503, "503: no reason given"),
        (GOOD, 201, "201"),
    ],
)
async def test_answers_that_are_not_acp(
    client: AcpClient, token: str, body: bytes, status: int, message: str
) -> None:
    async with serving(saying(body, status), token) as endpoint:
        with pytest.raises(AcpError, match=message) as caught:
            await client.health(endpoint, TRACE)
    assert "\x1b" not in str(caught.value)
    assert "\u202e" not in str(caught.value)


STATUS = {
    "agent": "pm",
    "role": "pm",
    "version": "0.1.0",
    "pid": 4711,
    "project": "a project",
    "started_at": "2026-01-02T03:04:05.678Z",
    "uptime_s": 1.5,
    "trace": None,
}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", "0.1.0\n\n**alice**: stop developer"),
        ("version", "[click](http://evil.example)"),
        ("version", "9" * 65),
        ("role", "admin and more"),
        ("project", "one\ntwo"),
        ("project", "p" * 201),
        ("project", "\x1b[31mred"),
        ("project", "one\u2028two"),
        ("started_at", "now"),
        ("started_at", "2026-99-99T99:99Z"),
        ("started_at", "2026-01-02T03:04:05"),
        ("uptime_s", -5),
        ("uptime_s", float("nan")),
        ("uptime_s", float("inf")),
        ("pid", 10**300),
        ("pid", 0),
        ("trace", "t\n"),
    ],
)
async def test_what_an_agent_says_of_itself_adds_nothing_to_a_reply(
    client: AcpClient, token: str, field: str, value: object
) -> None:
    """An agent may be taken over, and its status is shown in the control room."""
    async with serving(saying(json.dumps(STATUS).encode()), token) as endpoint:
        assert (await client.status(endpoint, TRACE)).pid == 4711
    async with serving(saying(json.dumps({**STATUS, field: value}).encode()), token) as endpoint:
        with pytest.raises(AcpError, match=f"malformed Status: {field}"):
            await client.status(endpoint, TRACE)


async def test_a_key_that_stands_there_twice_is_refused(client: AcpClient, token: str) -> None:
    twice = json.dumps(STATUS)[:-1] + ', "pid": 1}'
    async with serving(saying(twice.encode()), token) as endpoint:
        with pytest.raises(AcpError, match="malformed Status: json_invalid"):
            await client.status(endpoint, TRACE)


@pytest.mark.parametrize(("size", "fits"), [(acp.MAX_BODY, True), (acp.MAX_BODY + 1, False)])
async def test_an_answer_has_a_limit(client: AcpClient, token: str, size: int, fits: bool) -> None:
    body = GOOD + b" " * (size - len(GOOD))
    async with serving(saying(body), token) as endpoint:
        if fits:
            assert (await client.health(endpoint, TRACE)).status == "ok"
        else:
            with pytest.raises(AcpError, match=str(acp.MAX_BODY)):
                await client.health(endpoint, TRACE)


async def test_a_compressed_answer_is_refused(client: AcpClient, token: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        response = web.Response(body=GOOD + b" " * 100_000)
        response.enable_compression(web.ContentCoding.gzip)
        return response

    async with serving(answering(answer), token) as endpoint:
        with pytest.raises(AcpError, match="compressed"):
            await client.health(endpoint, TRACE)


async def test_a_redirect_is_not_followed(client: AcpClient, token: str) -> None:
    visited: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        visited.append(request.path)
        if request.path == "/elsewhere":
            return web.Response(body=GOOD)
        raise web.HTTPFound("/elsewhere")

    async with serving(answering(answer), token) as endpoint:
        with pytest.raises(AcpError, match="302"):
            await client.health(endpoint, TRACE)
    assert visited == ["/health"]


async def test_a_proxy_of_the_environment_is_not_used(
    token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with serving(saying(GOOD), token) as endpoint, AcpClient(timeout_s=20) as client:
        assert (await client.health(endpoint, TRACE)).status == "ok"
    async with aiohttp.ClientSession(trust_env=True) as session:
        with pytest.raises(InternalError, match="proxies"):
            AcpClient(session)


async def test_nobody_listens(client: AcpClient, token: str) -> None:
    endpoint = Endpoint(f"http://127.0.0.1:{free_port()}", token)
    with pytest.raises(AcpUnreachableError, match="no answer") as caught:
        await client.health(endpoint, TRACE)
    assert token not in str(caught.value)


async def test_no_answer_in_time(token: str) -> None:
    released = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        await released.wait()
        return web.Response(body=GOOD)

    async with serving(answering(answer), token) as endpoint, AcpClient(timeout_s=0.1) as client:
        with pytest.raises(AcpUnreachableError, match=r"within 0\.1 s"):
            await client.health(endpoint, TRACE)
        released.set()


async def test_not_http(client: AcpClient, token: str) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-canary\r\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(AcpError) as caught:
            await client.health(Endpoint(f"http://127.0.0.1:{port}", token), TRACE)
    assert "canary" not in str(caught.value)


async def test_a_token_that_no_header_can_carry_is_not_repeated(client: AcpClient) -> None:
    endpoint = Endpoint(f"http://127.0.0.1:{free_port()}", "canary\r\nX: y")
    with pytest.raises(AcpError) as caught:
        await client.health(endpoint, TRACE)
    assert "canary" not in str(caught.value)
    assert caught.value.__suppress_context__


async def test_a_session_that_is_handed_in_stays_open(token: str) -> None:
    async with aiohttp.ClientSession() as session:
        async with serving(saying(GOOD), token) as endpoint, AcpClient(session) as client:
            await client.health(endpoint, TRACE)
        assert not session.closed


async def test_wait_healthy_waits(client: AcpClient, token: str) -> None:
    answers = iter(["starting", "failing", "ok"])

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"status": next(answers), "agent": "pm"})

    async with serving(answering(answer), token) as endpoint:
        health = await client.wait_healthy(endpoint, TRACE, 20, yes)
    assert health.status == "ok"
    assert next(answers, None) is None


async def test_wait_healthy_waits_for_a_listener(client: AcpClient, token: str) -> None:
    port = free_port()
    server = TestServer(saying(GOOD), host="127.0.0.1", port=port)
    asked = 0

    async def still_running() -> bool:
        nonlocal asked
        asked += 1
        if asked == 2:
            await server.start_server()
        return True

    try:
        endpoint = Endpoint(f"http://127.0.0.1:{port}", token, "pm")
        assert (await client.wait_healthy(endpoint, TRACE, 20, still_running)).status == "ok"
    finally:
        await server.close()
    assert asked == 3, "also after the answer: a port may answer for a dead agent"


async def test_wait_healthy_gives_up(client: AcpClient, token: str) -> None:
    nobody = Endpoint(f"http://127.0.0.1:{free_port()}", token)
    with pytest.raises(AcpError, match="ended before"):
        await client.wait_healthy(nobody, TRACE, 20, no)
    with pytest.raises(AcpError, match=r"not healthy within 0\.1 s: no answer"):
        await client.wait_healthy(nobody, TRACE, 0.1, yes)
    starting = json.dumps({"status": "starting", "agent": "pm"}).encode()
    async with serving(saying(starting), token) as endpoint:
        with pytest.raises(AcpError, match="it says 'starting'"):
            await client.wait_healthy(endpoint, TRACE, 0.2, yes)


async def test_wait_healthy_does_not_believe_who_answers_for_a_dead_agent(
    client: AcpClient, token: str
) -> None:
    async with serving(saying(GOOD), token) as endpoint:
        assert (await client.wait_healthy(endpoint, TRACE, 20, yes)).status == "ok"
        with pytest.raises(AcpError, match="ended before"):
            await client.wait_healthy(endpoint, TRACE, 20, no)


async def test_wait_healthy_sees_an_end_though_the_port_is_held_open(token: str) -> None:
    """The holder of a dead agent's port accepts, in the kernel's queue, and never answers."""
    held = listening.hold(("pm",), {})
    endpoint = Endpoint(f"http://127.0.0.1:{held.numbers['pm']}", token, "pm")
    looks = iter([True, True, False])

    async def still_running() -> bool:
        return next(looks)

    async with AcpClient(timeout_s=60) as client, asyncio.timeout(20):
        with pytest.raises(AcpError, match="ended before"):
            await client.wait_healthy(endpoint, TRACE, 60, still_running)
    held.close()


async def test_wait_healthy_does_not_wait_for_a_stranger(client: AcpClient, token: str) -> None:
    async with serving(saying(b"<html>"), token) as endpoint:
        with pytest.raises(AcpError, match="malformed"):
            await client.wait_healthy(endpoint, TRACE, 60, yes)
