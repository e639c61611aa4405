"""One call of a homeserver, and every way in which it can end otherwise."""

from __future__ import annotations

import asyncio
import gzip
import socket

import pytest
from aiohttp import web

from agency.matrix import AnswerError, MatrixError, MatrixSession, client_path

PATH = client_path("rooms", "!a/b:x.org", "send", "m.room.message", "t?1")


async def test_an_answer_is_a_json_object(homeserver, session, gives):
    homeserver.answers = [gives({"event_id": "$e"})]
    answer = await session.request(
        "PUT", PATH, {"body": "hé"}, as_user="@bot:x", query={"a": "b c"}
    )
    assert answer == {"event_id": "$e"}
    ((method, path, query, body),) = homeserver.seen
    assert (method, query, body) == ("PUT", {"a": "b c", "user_id": "@bot:x"}, {"body": "hé"})
    start = "/_matrix/client/v3/rooms/%21a%2Fb%3Ax.org/send/m.room.message/t%3F1?"
    assert path.startswith(start)
    assert homeserver.tokens == ["Bearer token-of-alice"]


async def test_without_a_token_none_is_sent(homeserver, http, gives):
    homeserver.answers = [gives({})]
    await MatrixSession(homeserver.url, http).request("POST", PATH)
    assert (homeserver.tokens, homeserver.seen[0][3]) == ([None], {})


async def test_a_list_is_taken_where_one_is_promised(homeserver, session, gives):
    homeserver.answers = [gives([{"type": "m.room.name"}])]
    assert await session.request_list("GET", PATH) == [{"type": "m.room.name"}]
    with pytest.raises(MatrixError, match="HTTP 200 without a JSON object"):
        await session.request("GET", PATH)


async def test_a_refusal_keeps_what_the_homeserver_says(homeserver, session, gives):
    body = {"errcode": "M_LIMIT_EXCEEDED", "error": "slow", "retry_after_ms": 1500}
    homeserver.answers = [gives(body, 429)]
    with pytest.raises(MatrixError) as caught:
        await session.request("PUT", PATH, {})
    error = caught.value
    assert (error.status, error.errcode, error.retry_after_s) == (429, "M_LIMIT_EXCEEDED", 1.5)
    assert (error.temporary, error.doubtful) == (True, False)
    assert error.message == "HTTP 429 M_LIMIT_EXCEEDED slow"
    assert len(homeserver.seen) == 1  # who waits, and how long, is not decided here


@pytest.mark.parametrize(
    ("body", "header", "seconds"),
    [
        (b"slow down", "7", 7.0),
        (b'{"retry_after_ms": -1}', "7", 7.0),
        (b'{"retry_after_ms": NaN}', "soon", None),
        (b'{"retry_after_ms": "9"}', None, None),
        (b'{"retry_after_ms": Infinity}', None, None),
    ],
)
async def test_how_long_to_wait_is_read_with_care(
    homeserver, session, gives, body, header, seconds
):
    homeserver.answers = [gives(body, 429, **({"Retry_After": header} if header else {}))]
    with pytest.raises(MatrixError) as caught:
        await session.request("PUT", PATH, {})
    assert caught.value.retry_after_s == seconds


@pytest.mark.parametrize(
    ("body", "status", "message", "doubtful", "temporary"),
    [
        (b"<html>hello", 200, "HTTP 200 without a JSON object", True, True),
        (b"[" * 100_000, 200, "HTTP 200 without a JSON object", True, True),
        (b"<html>bad gateway", 502, "HTTP 502", False, True),
        (b'{"errcode": 7, "error": []}', 403, "HTTP 403", False, False),
        (b"", 302, "HTTP 302", False, False),
    ],
)
async def test_what_is_no_answer_of_a_homeserver(
    homeserver, session, gives, body, status, message, doubtful, temporary
):
    homeserver.answers = [gives(body, status, Location=f"{homeserver.url}/elsewhere")]
    with pytest.raises(MatrixError) as caught:
        await session.request("GET", PATH)
    assert caught.value.message == message
    assert (caught.value.doubtful, caught.value.temporary) == (doubtful, temporary)
    assert len(homeserver.seen) == 1  # a redirect is not followed


@pytest.mark.parametrize("compressed", [False, True])
async def test_a_body_that_is_too_large_is_cut_off(homeserver, session, gives, compressed):
    size = 8 * 1024 * 1024
    body = b'{"a": "' + b"x" * size + b'"}'
    right = b'{"a": "' + b"x" * (size - 9) + b'"}'
    pack = gzip.compress if compressed else bytes
    headers = {"Content_Encoding": "gzip"} if compressed else {}
    homeserver.answers = [gives(pack(right), **headers), gives(pack(body), **headers)]
    assert len((await session.request("GET", PATH))["a"]) == size - 9
    with pytest.raises(AnswerError, match="more than 8388608 bytes"):
        await session.request("GET", PATH)


async def test_silence_ends_in_time(homeserver, session):
    async def silent(_: web.Request) -> web.Response:
        await homeserver.ending.wait()
        return web.Response()

    homeserver.answers = [silent]
    with pytest.raises(MatrixError, match="no answer from the homeserver in time") as caught:
        await session.request("GET", PATH, timeout_s=0.2)
    assert (caught.value.status, caught.value.doubtful) == (None, True)


async def test_a_body_that_does_not_end_is_cut_off(homeserver, session):
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while not homeserver.ending.is_set():
            await response.write(b" ")
            await asyncio.sleep(0.05)
        return response

    homeserver.answers = [drip]
    with pytest.raises(AnswerError, match="does not end") as caught:
        await session.request("GET", PATH, timeout_s=0.3)
    assert caught.value.doubtful


@pytest.mark.parametrize("after", [b"", b'{"a": '])
async def test_a_lost_connection_is_no_answer(homeserver, session, after):
    async def hang_up(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        if after:
            await response.prepare(request)
            await response.write(after)
        assert request.transport is not None
        request.transport.close()
        return response

    homeserver.answers = [hang_up]
    with pytest.raises(MatrixError, match="no answer from the homeserver") as caught:
        await session.request("GET", PATH)
    assert caught.value.status is None


async def test_nobody_listens(http):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(MatrixError, match="ClientConnectorError"):
            await MatrixSession(url, http, "token-of-alice").request("GET", PATH)


async def test_the_token_is_not_told(homeserver, session, gives):
    homeserver.answers = [gives({"errcode": "M_UNKNOWN_TOKEN"}, 401)]
    with pytest.raises(MatrixError) as caught:
        await session.request("GET", PATH)
    assert "token-of-alice" not in f"{caught.value!r} {caught.value.as_dict()} {session!r}"
