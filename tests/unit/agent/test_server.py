"""What the agent answers, and whom, over real HTTP on loopback."""

import asyncio
import json
import logging
import os
import secrets
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from agency import __version__
from agency.agent.server import build_app
from agency.clock import Clock
from agency.commandline.logs import JsonLines
from agency.protocols import acp

CONFIG = acp.AgentConfig(name="pm", role="pm", port=20001, project="new-app", trace="trace-1")


class Moment:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def token() -> str:
    return secrets.token_urlsafe()


@pytest.fixture
def moment() -> Moment:
    return Moment()


@pytest.fixture
async def server(token: str, moment: Moment) -> AsyncIterator[TestServer]:
    app = build_app(CONFIG, token, Clock(wall=moment, steady=moment))
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    yield server
    await server.close()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def problem(answer: aiohttp.ClientResponse) -> str:
    assert answer.content_type == "application/json"
    return acp.Problem.model_validate_json(await answer.read()).error


async def test_health(server: TestServer, session: aiohttp.ClientSession, token: str) -> None:
    async with session.get(server.make_url("/health"), headers=bearer(token)) as answer:
        assert answer.status == 200
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Server"] == f"agency/{__version__}"
        assert await answer.json() == {"status": "ok", "agent": "pm"}


async def test_status(
    server: TestServer, session: aiohttp.ClientSession, token: str, moment: Moment
) -> None:
    moment.now += 61.5
    async with session.get(server.make_url("/status"), headers=bearer(token)) as answer:
        assert answer.status == 200
        assert await answer.json() == {
            "agent": "pm",
            "role": "pm",
            "version": __version__,
            "pid": os.getpid(),
            "project": "new-app",
            "started_at": "2023-11-14T22:13:20.000Z",
            "uptime_s": 61.5,
            "trace": "trace-1",
        }


@pytest.mark.parametrize("path", ["/health", "/status", "/no-such-path"])
@pytest.mark.parametrize("kind", ["none", "wrong", "prefix", "longer", "basic", "lower", "bytes"])
async def test_who_has_no_token_learns_nothing(
    server: TestServer, session: aiohttp.ClientSession, token: str, path: str, kind: str
) -> None:
    headers = {
        "none": {},
        "wrong": bearer(secrets.token_urlsafe()),
        "prefix": bearer(token[:-1]),
        "longer": bearer(token + "x"),
        "basic": {"Authorization": f"Basic {token}"},
        "lower": bearer(token.swapcase()),
        "bytes": bearer("\udcff\udcfe"),
    }[kind]
    async with session.get(server.make_url(path), headers=headers) as answer:
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert "bearer token" in await problem(answer)


async def test_the_token_counts_in_the_header_only(
    server: TestServer, session: aiohttp.ClientSession, token: str
) -> None:
    url = server.make_url("/health").with_query(access_token=token)
    async with session.get(url, cookies={"Authorization": f"Bearer {token}"}) as answer:
        assert answer.status == 401


async def test_two_authorization_headers_are_refused(
    server: TestServer, session: aiohttp.ClientSession, token: str
) -> None:
    value = f"Bearer {token}"
    headers = [("Authorization", value), ("Authorization", value)]
    async with session.get(server.make_url("/health"), headers=headers) as answer:
        assert answer.status == 401


async def test_unknown_path_and_wrong_method(
    server: TestServer, session: aiohttp.ClientSession, token: str
) -> None:
    async with session.get(server.make_url("/no"), headers=bearer(token)) as answer:
        assert answer.status == 404
        assert await problem(answer) == "no such path"
    for method in ("POST", "PUT", "DELETE", "HEAD"):
        url = server.make_url("/health")
        async with session.request(method, url, headers=bearer(token)) as answer:
            assert answer.status == 405
            assert answer.headers["Allow"] == "GET"


async def _chunks(size: int) -> AsyncIterator[bytes]:
    for start in range(0, size, 65536):
        yield b"x" * min(65536, size - start)


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_has_a_limit(
    server: TestServer, session: aiohttp.ClientSession, token: str, announced: bool
) -> None:
    url = server.make_url("/health")
    for size, status in ((acp.MAX_BODY, 200), (acp.MAX_BODY + 1, 413)):
        data = b"x" * size if announced else _chunks(size)
        async with session.get(url, headers=bearer(token), data=data) as answer:
            assert answer.status == status
            if status == 413:
                assert str(acp.MAX_BODY) in await problem(answer)


async def test_a_failure_of_ours_is_a_problem_without_details(
    session: aiohttp.ClientSession, token: str
) -> None:
    async def fail(_: web.Request) -> web.Response:
        raise RuntimeError("inner detail")

    app = build_app(CONFIG, token, Clock())
    app.router.add_get("/fail", fail)
    async with (
        TestServer(app, host="127.0.0.1") as broken,
        session.get(broken.make_url("/fail"), headers=bearer(token)) as answer,
    ):
        assert answer.status == 500
        assert "inner detail" not in await problem(answer)


@pytest.mark.parametrize(
    ("sent", "logged"),
    [
        ("trace-0a1b2c", "trace-0a1b2c"),
        ("x" * 64, "x" * 64),
        ("x" * 65, None),
        ('forged", "level": "error', None),
        ("\u202ereversed", None),
        ("", None),
    ],
)
async def test_the_trace_is_logged_if_it_is_one_and_the_token_never(
    server: TestServer,
    session: aiohttp.ClientSession,
    token: str,
    caplog: pytest.LogCaptureFixture,
    sent: str,
    logged: str | None,
) -> None:
    caplog.set_level(logging.INFO)
    for given in (token, token[:-1] + "-"):
        headers = {**bearer(given), acp.TRACE_HEADER: sent}
        async with session.get(server.make_url("/status"), headers=headers):
            pass
    lines = [JsonLines().format(record) for record in caplog.records if record.message == "request"]
    assert [json.loads(line)["trace"] for line in lines] == [logged, logged]
    assert [json.loads(line)["status"] for line in lines] == [200, 401]
    assert token[:-1] not in "".join(lines)
    assert all("\n" not in line for line in lines)


async def test_a_malformed_request_does_not_end_the_agent(
    server: TestServer, session: aiohttp.ClientSession, token: str
) -> None:
    for data in (b"\x00\xff\r\n\r\n", b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(data)
        assert (await reader.read(12)).startswith(b"HTTP/1.")
        writer.close()
        await writer.wait_closed()
    async with session.get(server.make_url("/health"), headers=bearer(token)) as answer:
        assert answer.status == 200


def test_an_empty_token_is_refused() -> None:
    with pytest.raises(ValueError, match="empty token"):
        build_app(CONFIG, "", Clock())
