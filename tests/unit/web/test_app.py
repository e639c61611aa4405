"""The limits of a server, each met by a real client; and the form of its refusals."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from aiohttp import web


async def chunks(size: int) -> AsyncIterator[bytes]:
    for start in range(0, size, 100):
        yield b"x" * min(100, size - start)


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_has_a_limit(served, session, announced):
    for size, status in ((1000, 200), (1001, 413)):
        data = b"x" * size if announced else chunks(size)
        async with session.post(served.url, data=data) as answer:
            assert answer.status == status
    assert served.bodies == [b"x" * 1000]


async def test_an_announced_body_that_is_too_long_is_not_waited_for(served):
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n")
        head = await asyncio.wait_for(reader.readline(), 5)
    finally:
        writer.close()
    assert head.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(("part", "status"), [("x" * 300, 200), ("x" * 600, 400)])
@pytest.mark.parametrize("where", ["header", "line"])
async def test_a_head_has_a_limit(served, session, where, part, status):
    headers = {"X-Long": part} if where == "header" else {}
    query = {"long": part} if where == "line" else {}
    async with session.get(served.url, headers=headers, params=query) as answer:
        assert answer.status == status


async def test_a_body_that_does_not_come_is_not_waited_for(served):
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx")
        head = await asyncio.wait_for(reader.readline(), 5)
    finally:
        writer.close()
    assert head.startswith(b"HTTP/1.1 408 ")
    assert served.bodies == []


async def test_a_handler_answers_in_time_or_is_ended(served, session, caplog):
    ended = []

    async def slow(_: web.Request) -> web.Response:
        try:
            await served.ending.wait()
        except asyncio.CancelledError:
            ended.append(True)
            raise
        return web.Response()

    served.handler = slow
    async with session.get(served.url) as answer:
        assert (answer.status, await answer.json()) == (503, {"error": "not answered in time"})
    assert ended == [True]
    assert "no answer within 0.3 s" in caplog.text


async def test_a_timeout_of_the_handlers_own_is_a_fault_of_its_own(served, session):
    async def fails(_: web.Request) -> web.Response:
        raise TimeoutError("of a database")

    served.handler = fails
    async with session.get(served.url) as answer:
        assert answer.status == 500


async def test_what_went_wrong_inside_stays_inside(served, session, caplog):
    async def fails(_: web.Request) -> web.Response:
        raise RuntimeError("canary")

    served.handler = fails
    with caplog.at_level(logging.ERROR):
        async with session.get(served.url) as answer:
            assert (answer.status, await answer.json()) == (500, {"error": "internal error"})
    assert "canary" in caplog.text


async def test_a_refusal_keeps_what_a_client_needs(served, session):
    async with session.put(served.url) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET,HEAD,POST")

    async def later(_: web.Request) -> web.Response:
        raise web.HTTPServiceUnavailable(headers={"Retry-After": "7", "X-Other": "y"})

    served.handler = later
    async with session.get(served.url) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "7")
        assert "X-Other" not in answer.headers


async def test_people_get_a_page_and_nothing_of_it_is_markup_of_others(served, session):
    async def refuse(_: web.Request) -> web.Response:
        raise web.HTTPBadRequest(reason="<script>x</script>")

    served.handler = refuse
    async with session.get(served.url, headers={"Accept": "text/html,*/*"}) as answer:
        page = await answer.text()
        assert answer.content_type == "text/html"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
