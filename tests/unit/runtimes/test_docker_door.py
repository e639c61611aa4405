"""Doors of containers: what passes, what happens when nothing is there, and their bound."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from agency.control.runtimes.docker.door import MAX_CONNECTIONS, Door
from agency.errors import PrerequisiteError


@asynccontextmanager
async def echo() -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data.upper())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def said(path: Path, text: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(text)
    try:
        return await asyncio.wait_for(reader.read(100), 5)
    except ConnectionError:  # closed before what was said was read
        return b""
    finally:
        writer.close()


async def test_it_leads_to_its_server_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "models.sock"
    async with echo() as port:
        door = Door(tmp_path, path.name, f"http://127.0.0.1:{port}")
        for _ in range(2):  # also in place of one that was left, and again after its end
            path.touch()
            await door.open()
            await door.open()
            assert stat.S_IMODE(path.stat().st_mode) == 0o666
            assert await said(path, b"hello") == b"HELLO"
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"on")
            assert await reader.read(2) == b"ON"
            await door.close()
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()
            assert not path.exists()
        await door.close()


async def test_a_server_that_is_away_gives_no_answer_and_the_next_try_passes(
    tmp_path: Path,
) -> None:
    async with echo() as port:
        pass
    door = Door(tmp_path, "homeserver.sock", f"http://127.0.0.1:{port}")
    await door.open()
    assert await said(tmp_path / door.name, b"hello") == b""
    async with echo() as other:
        door.url = f"http://127.0.0.1:{other}"
        assert await said(tmp_path / door.name, b"hello") == b"HELLO"
    await door.close()


async def test_a_container_that_takes_every_connection_is_refused_more(tmp_path: Path) -> None:
    async with echo() as port, AsyncExitStack() as stack:
        door = Door(tmp_path, "models.sock", f"http://127.0.0.1:{port}")
        await door.open()
        stack.push_async_callback(door.close)
        for _ in range(MAX_CONNECTIONS):
            reader, writer = await asyncio.open_unix_connection(tmp_path / door.name)
            stack.callback(writer.close)
            writer.write(b"on")
            assert await reader.read(2) == b"ON"
        assert await said(tmp_path / door.name, b"hello") == b""
        writer.close()  # one makes room
        async with asyncio.timeout(5):
            while await said(tmp_path / door.name, b"hello") != b"HELLO":  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_a_place_that_is_not_there_is_named(tmp_path: Path) -> None:
    door = Door(tmp_path / "none", "models.sock", "http://127.0.0.1:1")
    with pytest.raises(PrerequisiteError, match="cannot write"):
        await door.open()
