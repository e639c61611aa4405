"""The relay: bytes pass unchanged, a service that is not there is waited for, and no longer."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from agency import listening
from agency.spinup.targets.local.relay import Relay

BIG = os.urandom(3 * 1024 * 1024)


async def echo(request: web.Request) -> web.StreamResponse:
    """Say back what arrived: method, target, headers, body."""
    body = await request.read()
    if request.path == "/hang":
        await asyncio.sleep(60)
    if request.path == "/half":
        answer = web.StreamResponse(headers={"Content-Length": "100"})
        await answer.prepare(request)
        await answer.write(b"half")
        request.transport.close()
        return answer
    headers = {"X-Target": request.raw_path, "Server": "of the service"}
    for name in ("X-Forwarded-For", "X-Forwarded-Proto", "Forwarded", "Authorization"):
        headers[f"Got-{name}"] = "|".join(request.headers.getall(name, []))
    return web.Response(body=body, status=207, headers=headers)


@pytest.fixture
async def place(tmp_path) -> AsyncIterator[Callable[..., Relay]]:
    """Makes relays to `service.sock` in a directory whose path is longer than a socket's may be."""
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    held = listening.hold(("a",), {})
    made: list[Relay] = []

    def relay(**options: float) -> Relay:
        made.append(Relay(held.sockets["a"], deep / "service.sock", **options))
        made[-1].start()
        return made[-1]

    yield relay
    for each in made:
        await asyncio.to_thread(each.close)
    held.close()


@contextlib.asynccontextmanager
async def service(relay: Relay) -> AsyncIterator[None]:
    app = web.Application(client_max_size=8 * 1024 * 1024)
    app.router.add_route("*", "/{tail:.*}", echo)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    directory = os.open(relay.path.parent, os.O_PATH)
    await web.UnixSite(runner, f"/proc/self/fd/{directory}/{relay.path.name}").start()
    try:
        yield
    finally:
        await runner.cleanup()
        os.close(directory)
        relay.path.unlink(missing_ok=True)


def url(relay: Relay, path: str = "/x") -> str:
    return f"http://127.0.0.1:{relay.listening.getsockname()[1]}{path}"


async def test_a_message_passes_but_for_what_clients_claim(place) -> None:
    relay = place()
    target = URL(url(relay, "/a%2Fb?c=%21"), encoded=True)
    claims = {"X-Forwarded-For": "192.0.2.9", "Forwarded": "for=192.0.2.9", "Authorization": "b"}
    async with service(relay), aiohttp.ClientSession() as session:
        for _ in range(2):  # a connection is used again
            async with session.put(target, data=BIG, headers=claims) as told:
                assert told.status == 207
                assert told.headers["X-Target"] == "/a%2Fb?c=%21"
                assert told.headers["Server"] == "of the service"
                assert told.headers["Got-X-Forwarded-For"] == "127.0.0.1"
                assert told.headers["Got-Forwarded"] == ""
                assert told.headers["Got-Authorization"] == "b"
                assert await told.read() == BIG


async def test_a_request_waits_for_a_service_that_restarts(place) -> None:
    relay = place()
    async with aiohttp.ClientSession() as session:
        early = asyncio.ensure_future(session.post(url(relay), data=b"early"))
        await asyncio.sleep(0.3)
        assert not early.done()
        async with service(relay), await early as told:
            assert await told.read() == b"early"


async def test_without_a_service_the_answer_comes_in_bounded_time(place) -> None:
    relay = place(wait_s=0.3)
    limit = asyncio.timeout(20)
    async with limit, aiohttp.ClientSession() as session, session.get(url(relay)) as told:
        assert told.status == 503
        assert (await told.json())["errcode"] == "M_UNKNOWN"
        assert told.headers["Retry-After"]


async def test_half_an_answer_is_not_taken_for_the_whole(place) -> None:
    relay = place()
    async with (
        asyncio.timeout(20),
        service(relay),
        aiohttp.ClientSession() as session,
        session.get(url(relay, "/half")) as told,
    ):
        with pytest.raises(aiohttp.ClientPayloadError):
            await told.read()


async def test_connections_are_bounded(place) -> None:
    relay = place(most=4)
    port = relay.listening.getsockname()[1]
    with contextlib.ExitStack() as held:
        idle = [
            held.enter_context(socket.create_connection(("127.0.0.1", port), 5)) for _ in range(8)
        ]
        await asyncio.sleep(0.5)
        closed = 0
        for each in idle:
            each.settimeout(0.05)
            with contextlib.suppress(TimeoutError):
                closed += each.recv(1) == b""
        assert closed == 4
    async with service(relay), aiohttp.ClientSession() as session, asyncio.timeout(20):
        await asyncio.sleep(0.5)
        async with session.get(url(relay)) as told:
            assert told.status == 207


async def test_connections_that_do_nothing_make_way_for_a_request(place) -> None:
    relay = place(most=4)
    address = relay.listening.getsockname()
    async with service(relay), aiohttp.ClientSession() as session, asyncio.timeout(5):
        with contextlib.ExitStack() as held:
            for _ in range(4):
                held.enter_context(socket.create_connection(address, 5))
            await asyncio.sleep(0.5)
            async with session.get(url(relay)) as told:
                assert told.status == 207


async def test_it_ends_while_a_request_hangs_and_the_port_stays_held(place) -> None:
    relay = place()
    port = relay.listening.getsockname()[1]
    async with service(relay), aiohttp.ClientSession() as session:
        hanging = asyncio.ensure_future(session.post(url(relay, "/hang")))
        await asyncio.sleep(0.3)
        async with asyncio.timeout(5):
            await asyncio.to_thread(relay.close)
        with pytest.raises(aiohttp.ClientError):
            await hanging
    with pytest.raises(listening.PortTakenError):
        listening.listen(port)


async def exchange(relay: Relay, sent: bytes, *, until: bytes = b"") -> bytes:
    """Send bytes, and read until `until` has come or the connection ends."""
    port = relay.listening.getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(20):
            writer.write(sent)
            if until:
                return await reader.readuntil(until)
            return await reader.read()
    finally:
        writer.close()


def request(target: str, *headers: str) -> bytes:
    head = (f"GET {target} HTTP/1.1", "Host: a", "Connection: close", *headers)
    return "\r\n".join((*head, "", "")).encode()


@pytest.mark.parametrize(
    ("target", "seen"),
    [
        (each, each)
        for each in ("/", "//other/x", "/a/../b/./c", "/a%2F%2e%2e/b", "/x?next=http://b/%21&c=+")
    ]
    + [("http://other:9/x/../y?q=1", "/x/../y?q=1"), ("http://other", "/")],
)
async def test_a_target_passes_unchanged(place, target: str, seen: str) -> None:
    """The relay and the service mean the same thing by a path."""
    relay = place()
    async with service(relay):
        answer = await exchange(relay, request(target))
    assert f"\r\nX-Target: {seen}\r\n".encode() in answer


@pytest.mark.parametrize("line", ["OPTIONS *", "CONNECT other:1", "GET x", "GET ftp://other/x"])
async def test_a_target_that_is_no_path_is_refused(place, line: str) -> None:
    relay = place()
    sent = f"{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()
    async with service(relay):
        assert (await exchange(relay, sent)).split()[1] == b"400"


async def test_every_header_of_the_connection_alone_is_dropped(place) -> None:
    relay = place()
    async with service(relay):
        answer = await exchange(
            relay, request("/x", "Connection: Authorization", "Authorization: of the connection")
        )
        kept = await exchange(relay, request("/x", "Authorization: of the message"))
    assert b"of the connection" not in answer
    assert b"Got-Authorization: of the message" in kept


async def test_a_client_that_asks_whether_to_go_on_is_told(place) -> None:
    relay = place()
    head = b"PUT /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    async with service(relay):
        assert await exchange(relay, head, until=b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        answer = await exchange(relay, head + b"body", until=b"body")
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 207 ")


@pytest.mark.parametrize("sent", [b"", b"GET /x HTTP/1.1\r\nHost: a\r\nX-Slow: "])
async def test_a_connection_without_a_request_ends(place, sent: bytes) -> None:
    relay = place(head_s=0.3)
    async with service(relay):
        began = asyncio.get_running_loop().time()
        await exchange(relay, sent)
        assert asyncio.get_running_loop().time() - began < 10
        async with aiohttp.ClientSession() as session:
            hanging = asyncio.ensure_future(session.get(url(relay, "/hang")))
            await asyncio.sleep(1)
            assert not hanging.done(), "a request takes its time"
            hanging.cancel()


async def test_malformed_requests_do_not_fill_the_log(place, caplog) -> None:
    relay = place()
    async with service(relay):
        for _ in range(20):
            assert b"400" in await exchange(relay, request("/x", "Content-Length: +3"))
    logged = [each for each in caplog.records if each.name == "aiohttp.server"]
    assert len(logged) < 5
