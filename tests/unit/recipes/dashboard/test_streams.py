"""Live logs: nothing missed, nothing twice, whatever the file, the client or the network do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from agency.recipes.journal import Censor, Journal
from agency.recipes.record.run import RunState
from agency.secrets import SecretValue


@dataclass
class Event:
    kind: str = ""
    id: str = ""
    data: str = ""

    @property
    def text(self) -> str:
        return "".join(text for _, text in json.loads(self.data))


@dataclass
class Stream:
    """Return the events of a stream, as a browser's EventSource has them."""

    answer: aiohttp.ClientResponse
    seen: list[Event] = field(default_factory=list)

    async def next(self) -> Event | None:
        """The next event; None at the end of the stream."""
        event = Event()
        while line := (await self.answer.content.readline()).decode():
            name, _, value = line.rstrip("\n").partition(": ")
            match name:
                case "event":
                    event.kind = value
                case "id":
                    event.id = value
                case "data":
                    event.data += value
                case "" if event.kind:
                    self.seen.append(event)
                    return event
        return None

    async def until(self, text: str = "", kind: str = "log") -> str:
        """Read until an event of a kind, whose text ends the text so far; return all of that."""
        got = ""
        async with asyncio.timeout(10):
            while event := await self.next():
                got += event.text if event.kind == "log" else ""
                if event.kind == kind and got.endswith(text):
                    return got
        raise AssertionError(f"the stream ended with {got!r}")


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def following(
    board: Any, run: str, log: str = "install", at: int | None = None, last: str | None = None
) -> AsyncIterator[Stream]:
    query = "" if at is None else f"?from={at}"
    headers = {} if last is None else {"Last-Event-ID": last}
    path = f"/runs/{run}/logs/{log}/events{query}"
    # Lines of a fast log are longer than aiohttp reads at once by default.
    async with board.client.get(path, headers=headers, read_bufsize=2**22) as answer:
        assert answer.status == 200, await answer.text()
        yield Stream(answer)


async def test_what_is_added_comes_at_once_and_the_end_is_told(board: Any) -> None:
    run = await board.past.start()
    board.past.log(run.id, "install", "one\n")
    async with following(board, run.id, at=0) as stream:
        assert stream.answer.headers["Content-Type"] == "text/event-stream"
        assert stream.answer.headers["X-Accel-Buffering"] == "no"
        assert await stream.until("one\n") == "one\n"
        board.past.log(run.id, "install", "\x1b[31mtwo <b>\x1b[0m\n")
        assert await stream.until("two <b>\n") == "two <b>\n"
        assert json.loads(stream.seen[-1].data) == [["c1", "two <b>"], ["", "\n"]]
        board.past.log(run.id, "install", "no line yet")
        assert await stream.until("yet") == "no line yet"
        await board.past.end(run.id, RunState.PASSED)
        await stream.until(kind="end")
        assert await stream.next() is None


async def test_what_a_run_writes_comes_at_once_and_without_its_secrets(board: Any) -> None:
    """By the writer of a run itself, which holds back what may be the beginning of a secret."""
    run = await board.past.start()
    censor = Censor()
    censor.add([SecretValue("correct-horse-battery-staple")])
    board.past.log(run.id, "install", "")
    with Journal(board.past.place(run.id) / "logs" / "install.log", censor) as journal:
        async with following(board, run.id, at=0) as stream:
            for number in range(5):
                journal.say(f"line {number} says correct-horse-battery-staple")
                got = await stream.until("\n")
                assert got.startswith(f"line {number} says ")
                assert "horse" not in got


async def test_a_client_goes_on_where_it_was(board: Any) -> None:
    run = await board.past.start()
    lines = [f"line {n} ä日😀\n" for n in range(200)]
    board.past.log(run.id, "install", "".join(lines[:100]))
    async with following(board, run.id, at=0) as stream:
        got = await stream.until(lines[99])
        last = stream.seen[-1].id
    board.past.log(run.id, "install", "".join(lines[100:]))
    async with following(board, run.id, at=0, last=last) as stream:
        got += await stream.until(lines[199])
    assert got == "".join(lines)


@pytest.mark.parametrize(
    ("first", "second", "shown"),
    [
        ("日".encode()[:2], "日".encode()[2:], "日"),
        (b"\x1b[3", b"1mred", "red"),
        (b"\x1b]0;ti", b"tle\x07after", "after"),
        (b"one\r", b"\ntwo", "one\ntwo"),
    ],
)
async def test_a_half_waits_for_its_rest(
    board: Any, first: bytes, second: bytes, shown: str
) -> None:
    run = await board.past.start()
    board.past.log(run.id, "install", first)
    async with following(board, run.id, at=0) as stream:
        await asyncio.sleep(0.1)
        board.past.log(run.id, "install", second)
        assert await stream.until(shown) == shown


async def test_a_half_does_not_wait_for_ever(board: Any) -> None:
    run = await board.past.start()
    board.past.log(run.id, "install", b"\xe6\x97")
    async with following(board, run.id, at=0) as stream:
        assert await stream.until("\ufffd")
        board.past.log(run.id, "install", b"\x1b[3")
        await board.past.end(run.id, RunState.PASSED)
        assert await stream.until(kind="end")


@pytest.mark.parametrize("how", ["truncated", "replaced", "shorter while away"])
async def test_a_log_that_begins_again_is_told(board: Any, how: str) -> None:
    """An engine that was killed begins the run anew, with logs of the same names."""
    run = await board.past.start()
    log = board.past.log(run.id, "install", "a first attempt that was long\n")
    last = None
    if how == "shorter while away":
        last = str(log.stat().st_size)
        log.write_text("second\n")
    async with following(board, run.id, at=0, last=last) as stream:
        if how == "truncated":
            await stream.until("long\n")
            os.truncate(log, 0)
            await stream.until(kind="restart")
            board.past.log(run.id, "install", "second\n")
        elif how == "replaced":
            await stream.until("long\n")
            other = log.with_name("other")
            other.write_text("second\nand longer than what was there before\n")
            other.rename(log)
        got = await stream.until("\n")
        assert got.startswith("second\n")
        kinds = [event.kind for event in stream.seen]
        assert kinds.count("restart") == 1
        assert stream.seen[kinds.index("restart")].id == "0"


@pytest.mark.parametrize("noticed", [True, False])
async def test_a_log_that_is_gone_and_comes_back_is_waited_for(board: Any, noticed: bool) -> None:
    run = await board.past.start()
    log = board.past.log(run.id, "install", "one\n")
    async with following(board, run.id, at=0) as stream:
        await stream.until("one\n")
        log.unlink()
        if noticed:
            await asyncio.sleep(0.2)
        board.past.log(run.id, "install", "anew\n")  # by the number of the file, it may be the same
        await stream.until("anew\n")


async def test_a_log_that_becomes_a_link_is_followed_no_further(board: Any, tmp_path: Any) -> None:
    run = await board.past.start()
    log = board.past.log(run.id, "install", "one\n")
    secret = tmp_path / "elsewhere"
    secret.write_text("one\nof another place\n")
    async with following(board, run.id, at=0) as stream:
        await stream.until("one\n")
        log.unlink()
        log.symlink_to(secret)
        await asyncio.sleep(0.2)
        await board.past.end(run.id, RunState.PASSED)
        assert await stream.until(kind="end") == ""


async def test_a_log_that_grows_fast_comes_whole(board: Any) -> None:
    run = await board.past.start()
    lines = b"".join(b"%07d of a log that is written without a pause\n" % n for n in range(60_000))
    log = board.past.log(run.id, "install", b"")

    async def write() -> None:
        with log.open("ab") as file:
            for at in range(0, len(lines), 50_001):
                file.write(lines[at : at + 50_001])
                file.flush()
                await asyncio.sleep(0)

    async with following(board, run.id, at=0) as stream:
        writing = asyncio.create_task(write())
        got = await stream.until("0059999 of a log that is written without a pause\n")
        await writing
    assert got.encode() == lines
    assert max(len(event.data) for event in stream.seen) < 256 * 1024


async def test_a_client_that_does_not_read_is_dropped(board: Any) -> None:
    run = await board.past.start()
    board.past.log(run.id, "install", b"x" * 16 * 1024 * 1024)
    reader, writer = await asyncio.open_connection("127.0.0.1", board.client._base_url.port)
    writer.write(
        f"GET /runs/{run.id}/logs/install/events?from=0 HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    )
    await reader.readline()
    async with asyncio.timeout(5):
        await until(lambda: board.served.streams.open == 1)
        await until(lambda: not board.served.streams.open)
    writer.close()


async def test_a_thousand_clients_are_refused_at_the_bound(board: Any) -> None:
    run = await board.past.start()
    board.past.log(run.id, "install", "one\n")
    path = f"/runs/{run.id}/logs/install/events"

    async def ask(session: aiohttp.ClientSession) -> int:
        async with session.get(path) as answer:
            if answer.status == 503:
                assert answer.headers["Retry-After"]
            return answer.status

    connector = aiohttp.TCPConnector(limit=100)
    base = board.client._base_url
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(board.served.streams.most):
            await stack.enter_async_context(following(board, run.id))
        async with aiohttp.ClientSession(base, connector=connector) as session:
            found = await asyncio.gather(*(ask(session) for _ in range(1000)))
        assert set(found) == {503}
        assert board.served.streams.refused == 1000
        assert "one" in await board.page(f"/runs/{run.id}"), "pages are still there"
    async with asyncio.timeout(5):
        await until(lambda: not board.served.streams.open)
    async with following(board, run.id, at=0) as stream:
        await stream.until("one\n")


async def test_other_logs_are_announced(board: Any) -> None:
    run = await board.past.start()
    board.past.log(run.id, "install", "one\n")
    async with following(board, run.id, at=0) as stream:
        await stream.until("one\n")
        await asyncio.sleep(0.1)
        board.past.log(run.id, "upgrade", "begins\n")
        await stream.until(kind="changed")


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 30, "²", "1\t2"])
async def test_a_wrong_place_is_refused(board: Any, last: str) -> None:
    run = await board.past.start()
    board.past.log(run.id, "install", "one\n")
    headers = {"Last-Event-ID": last.encode("utf-8").decode("latin-1")}
    async with board.client.get(f"/runs/{run.id}/logs/install/events", headers=headers) as answer:
        assert answer.status == 400


async def test_a_stream_ends_with_the_server(board: Any) -> None:
    run = await board.past.start()
    board.past.log(run.id, "install", "one\n")
    async with following(board, run.id, at=0) as stream:
        await stream.until("one\n")
        board.served.streams.closing.set()
        async with asyncio.timeout(10):
            assert await stream.next() is None


async def test_what_is_no_log_is_not_followed(board: Any) -> None:
    run = await board.past.start()
    board.past.file(run.id, "result.json", b"{}")
    for log in ("none", "..", "%2e%2e%2fresult", "install.txt"):
        async with board.client.get(f"/runs/{run.id}/logs/{log}/events") as answer:
            assert answer.status == 404, log
    async with board.client.get("/runs/r99999999/logs/install/events") as answer:
        assert answer.status == 404
