"""The relay between the control plane and an agent that dials, with an agent of a few lines."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from agency.control.runtimes.docker import relay as relay_module
from agency.control.runtimes.docker.relay import MAX_LINES, Relay
from agency.errors import PrerequisiteError

LINES: list[asyncio.Task[None]] = []  # of one test
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory whose path is longer than unix(7) takes."""
    place = tmp_path / ("x" * 100)
    (place / "pm").mkdir(parents=True)
    return place


@pytest.fixture
async def relay(place: Path) -> AsyncIterator[Relay]:
    relay = Relay(place, "pm")
    await relay.open()
    yield relay
    await relay.close()
    await asyncio.gather(*LINES, return_exceptions=True)
    LINES.clear()


async def dial(place: Path, says: bytes = b"ok", *, lines: int = 1) -> list[asyncio.Task[None]]:
    """Connect lines, each of which answers one request."""

    directory = os.open(place / "pm", os.O_PATH)

    async def one() -> None:
        path = f"/proc/self/fd/{directory}/acp.sock"
        reader, writer = await asyncio.open_unix_connection(path)
        ready.release()
        try:
            if await reader.read(1024):
                writer.write(ANSWER + says)
                await writer.drain()
        finally:
            writer.close()

    ready = asyncio.Semaphore(0)
    tasks = [asyncio.create_task(one()) for _ in range(lines)]
    LINES.extend(tasks)
    for _ in tasks:
        await ready.acquire()
    os.close(directory)
    await asyncio.sleep(0.05)  # the relay has accepted them
    return tasks


async def ask(relay: Relay) -> str:
    assert relay.front is not None
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(relay.front)) as session:
        timeout = aiohttp.ClientTimeout(total=10)
        async with session.get("http://pm/health", timeout=timeout) as answer:
            return await answer.text()


async def test_requests_reach_the_agent_at_the_same_time(relay: Relay, place: Path) -> None:
    tasks = await dial(place, lines=3)
    assert await asyncio.gather(*(ask(relay) for _ in range(3))) == ["ok"] * 3
    await asyncio.gather(*tasks)


async def test_a_request_waits_for_a_line(relay: Relay, place: Path) -> None:
    asked = asyncio.create_task(ask(relay))
    await asyncio.sleep(0.1)
    await dial(place)
    assert await asked == "ok"


async def test_without_a_line_it_ends_without_an_answer(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "_LINE_WAIT_S", 0.05)
    with pytest.raises(aiohttp.ClientConnectionError):
        await ask(relay)


async def test_a_line_that_ended_is_not_used(relay: Relay, place: Path) -> None:
    (dead,) = await dial(place)
    dead.cancel()
    await asyncio.gather(dead, return_exceptions=True)
    await asyncio.sleep(0.05)
    await dial(place, b"up")
    assert await ask(relay) == "up"


async def test_lines_that_wait_are_bounded(relay: Relay, place: Path) -> None:
    tasks = await dial(place, lines=MAX_LINES + 5)
    await asyncio.sleep(0.1)
    assert sum(task.done() for task in tasks) == 5
    assert await ask(relay) == "ok"
    await relay.close()
    await asyncio.gather(*tasks)


async def test_requests_are_bounded(
    relay: Relay, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "MAX_REQUESTS", 1)
    waiting = asyncio.create_task(ask(relay))
    await asyncio.sleep(0.1)
    with pytest.raises(aiohttp.ClientConnectionError):
        await ask(relay)
    await dial(place)
    assert await waiting == "ok"


async def test_a_closed_relay_ends_what_it_carries(relay: Relay, place: Path) -> None:
    front = relay.front
    asked = asyncio.create_task(ask(relay))
    await asyncio.sleep(0.05)
    await relay.close()
    with pytest.raises(aiohttp.ClientConnectionError):
        await asked
    assert relay.front is None
    assert front is not None


async def test_it_opens_again_in_the_same_place(relay: Relay, place: Path) -> None:
    for _ in range(2):
        await relay.close()
        await relay.open()
        await relay.open()
        await dial(place)
        assert await ask(relay) == "ok"


async def test_another_user_may_dial_and_only_its_own_may_ask(relay: Relay, place: Path) -> None:
    assert (place / "pm" / "acp.sock").stat().st_mode & 0o777 == 0o666
    assert (place / "pm.sock").stat().st_mode & 0o777 == 0o600


async def test_a_place_that_is_gone_is_told(tmp_path: Path) -> None:
    relay = Relay(tmp_path, "pm")
    with pytest.raises(PrerequisiteError, match="cannot write"):
        await relay.open()
    (tmp_path / "pm").mkdir()
    await relay.open()
    await relay.close()
