"""Server-sent events: what a client reads, and the bounds."""

from __future__ import annotations

import asyncio

import pytest

from agency.web import Broadcast, Event, send_events


async def line_of(answer) -> bytes:
    return await asyncio.wait_for(answer.content.readline(), 5)


async def until(look) -> None:
    async with asyncio.timeout(5):
        while not look():  # noqa: ASYNC110 - what is looked at tells of no change
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("event", "wire"),
    [
        (Event("hello"), "event: message\ndata: hello\n\n"),
        (
            Event("a\nb\r\nc\rd", "log", "7"),
            "event: log\nid: 7\ndata: a\ndata: b\ndata: c\ndata: d\n\n",
        ),
        (Event("", "end"), "event: end\ndata: \n\n"),
    ],
)
def test_an_event_on_the_wire(event, wire):
    assert event.encoded().decode() == wire


@pytest.mark.parametrize("bad", [Event("x", "a\nb"), Event("x", id="1\rdata: y"), Event("x", "\0")])
def test_an_event_cannot_make_fields(bad):
    with pytest.raises(ValueError, match="line break"):
        bad.encoded()


async def test_events_reach_every_listener_beyond_the_answers_limit(served, session):
    broadcast = Broadcast()
    served.handler = lambda request: send_events(request, broadcast)
    async with session.get(served.url) as one, session.get(served.url) as other:
        assert one.headers["Content-Type"] == "text/event-stream"
        await asyncio.sleep(0.5)  # an ordinary handler is ended after 0.3 s
        broadcast.publish(Event("hello", "log", "1"))
        for answer in (one, other):
            assert [await line_of(answer) for _ in range(4)] == [
                b"event: log\n", b"id: 1\n", b"data: hello\n", b"\n",
            ]  # fmt: skip
        broadcast.close()
        assert await line_of(one) == b""
    await until(lambda: broadcast.listeners == 0)


async def test_there_is_a_most_of_listeners(served, session):
    broadcast = Broadcast(max_listeners=1)
    served.handler = lambda request: send_events(request, broadcast)
    async with session.get(served.url) as one:
        assert one.status == 200
        async with session.get(served.url) as other:
            assert (other.status, other.headers["Retry-After"]) == (503, "10")
        broadcast.close()
    await until(lambda: broadcast.listeners == 0)
    async with session.get(served.url) as third:
        assert third.status == 200
        broadcast.close()


async def test_who_reads_slowly_is_dropped_and_holds_up_nobody():
    broadcast = Broadcast(max_waiting=2)
    with broadcast.listening() as slow, broadcast.listening() as quick:
        for number in range(4):
            broadcast.publish(Event(str(number)))
            assert quick.get_nowait() == Event(str(number))
        assert [slow.get_nowait() for _ in range(3)] == [Event("0"), Event("1"), None]
        assert slow.empty()
        assert broadcast.listeners == 1


async def test_who_takes_nothing_is_cut_off(served, caplog):
    broadcast = Broadcast(max_waiting=1000)
    served.handler = lambda request: send_events(request, broadcast, write_s=0.2)
    _, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1024)
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: broadcast.listeners == 1)
        for _ in range(100):
            broadcast.publish(Event("x" * 1_000_000))
        await until(lambda: broadcast.listeners == 0)
        await asyncio.sleep(0.1)
    finally:
        writer.close()
    assert caplog.text == ""  # an end like others, not a fault of ours


async def test_a_heartbeat_finds_who_is_gone(served, session):
    broadcast = Broadcast()
    served.handler = lambda request: send_events(request, broadcast, heartbeat_s=0.05)
    async with session.get(served.url) as answer:
        assert await line_of(answer) == b": still here\n"
        assert broadcast.listeners == 1
        answer.close()
    await until(lambda: broadcast.listeners == 0)


async def test_no_stream_is_for_ever(served, session):
    broadcast = Broadcast()
    served.handler = lambda request: send_events(request, broadcast, longest_s=0.1)
    async with session.get(served.url) as answer:
        assert await asyncio.wait_for(answer.read(), 5) == b": still here\n\n"
