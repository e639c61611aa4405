"""Logs and files as they are sent: their types, their bounds, and what may not be sent."""

from __future__ import annotations

import asyncio
import os
import re
from typing import Any

import pytest
from recipe_history import png
from yarl import URL

from agency.recipes.dashboard import serving_files
from agency.recipes.dashboard.logs.pieces import MOST_PIECE


@pytest.mark.parametrize(
    ("name", "content_type", "inline"),
    [
        ("a.png", "image/png", True),
        ("a.JPG", "image/jpeg", True),
        ("a.json", "application/json", True),
        ("a.txt", "text/plain", True),
        ("report.xml", "text/plain", True),
        ("page.html", "application/octet-stream", False),
        ("drawing.svg", "application/octet-stream", False),
        ("script.js", "application/octet-stream", False),
        ("trace.zip", "application/octet-stream", False),
        ("no-suffix", "application/octet-stream", False),
    ],
)
async def test_a_file_has_a_type_that_runs_nothing(
    board: Any, name: str, content_type: str, inline: bool
) -> None:
    run = await board.past.passed()
    board.past.file(run.id, name, b"<script>alert(1)</script>")
    async with board.client.get(f"/runs/{run.id}/files/{name}") as answer:
        assert answer.status == 200
        assert answer.content_type == content_type
        assert answer.headers["Content-Disposition"].startswith(
            "inline" if inline else "attachment"
        )
        assert "sandbox" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert await answer.read() == b"<script>alert(1)</script>"


@pytest.mark.parametrize(
    "path",
    [
        "../r00000000/result.json",
        "%2e%2e/r00000000/result.json",
        "..%2fr00000000%2fresult.json",
        "%2fetc%2fpasswd",
        "screenshots/%2e%2e/result.json%00",
        "logs/install.log",
        "none.png",
        "link.png",
        "pipe.png",
        "screenshots",
    ],
)
async def test_nothing_else_is_sent(board: Any, path: str) -> None:
    first = await board.past.passed()
    board.past.file(first.id, "result.json", b"of another run")
    run = await board.past.passed()
    place = board.past.place(run.id)
    (place / "link.png").symlink_to("/etc/passwd")
    os.mkfifo(place / "pipe.png")
    async with asyncio.timeout(5):
        url = f"{board.client._base_url}/runs/{run.id}/files/{path}"
        async with board.client.get(URL(url, encoded=True)) as answer:
            assert answer.status == 404, await answer.text()
    async with board.client.get(f"/runs/{run.id}/files/screenshots/front.png") as answer:
        assert await answer.read() == png()


async def test_a_large_file_comes_whole(board: Any) -> None:
    run = await board.past.passed()
    data = os.urandom(3 * 1024 * 1024)
    board.past.file(run.id, "large.bin", data)
    async with board.client.get(f"/runs/{run.id}/files/large.bin") as answer:
        assert answer.headers["Content-Length"] == str(len(data))
        assert await answer.read() == data


async def test_downloads_are_bounded(board: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = await board.past.passed()
    monkeypatch.setattr(serving_files, "MOST_DOWNLOADS", 0)
    async with board.client.get(f"/runs/{run.id}/files/screenshots/front.png") as answer:
        assert answer.status == 503
    monkeypatch.setattr(serving_files, "MOST_DOWNLOADS", 1)
    for _ in range(3):
        async with board.client.get(f"/runs/{run.id}/files/screenshots/front.png") as answer:
            assert answer.status == 200


async def test_a_log_as_text_does_nothing_to_a_terminal(board: Any) -> None:
    run = await board.past.passed()
    lines = "".join(f"{n} \x1b[32mgood\x1b[0m \x1b]0;evil\x07 日\n" for n in range(30_000))
    board.past.log(run.id, "custom", f"{lines}\x1b[2J\x1bc\x07\u202eend\x1b[3")
    async with board.client.get(f"/runs/{run.id}/logs/custom.txt") as answer:
        text = await answer.text()
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert text == "".join(f"{n} good  日\n" for n in range(30_000)) + "\\x07\\u202eend\\x1b[3"


async def test_a_long_log_comes_in_parts_that_miss_nothing(board: Any) -> None:
    run = await board.past.passed()
    lines = [f"line {n:06} of a long log" for n in range(30_000)]
    board.past.log(run.id, "custom", "\n".join(lines) + "\n")
    end = await board.page(f"/runs/{run.id}/logs/custom")
    assert lines[-1] in end
    assert lines[0] not in end
    at, found = "?from=0", 0
    for _ in range(10):
        page = await board.page(f"/runs/{run.id}/logs/custom{at}")
        found += len(re.findall(r"line \d{6} of a long log", page))
        later = re.search(r'rel="next" href="(\?from=\d+)"', page)
        if later is None:
            break
        at = later[1]
    assert found == len(lines)


async def test_a_log_without_lines_can_be_read(board: Any) -> None:
    run = await board.past.passed()
    board.past.log(run.id, "custom", "x" * (3 * MOST_PIECE))
    at = MOST_PIECE
    page = await board.page(f"/runs/{run.id}/logs/custom?from={at}")
    assert "x" * 1000 in page
    assert f"Bytes {at} to" in page
    await board.page(f"/runs/{run.id}/logs/custom?from={9 * MOST_PIECE}")


async def test_a_log_that_is_no_text_can_be_read(board: Any) -> None:
    run = await board.past.passed()
    board.past.log(run.id, "custom", bytes(range(256)) * 10)
    assert "\\x00" in await board.page(f"/runs/{run.id}/logs/custom")
    async with board.client.get(f"/runs/{run.id}/logs/custom.txt") as answer:
        assert "\\x1b" in await answer.text()


async def test_a_file_that_becomes_shorter_ends_its_connection(board: Any) -> None:
    """Its length is told: a client that was sent less would wait for the rest."""
    run = await board.past.passed()
    large = board.past.file(run.id, "large.bin", b"x" * 32 * 1024 * 1024)
    path = f"/runs/{run.id}/files/large.bin"
    reader, writer = await asyncio.open_connection("127.0.0.1", board.client._base_url.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    os.truncate(large, 1024 * 1024)
    async with asyncio.timeout(10):
        got = await reader.read(-1)
    assert 0 < len(got) < 32 * 1024 * 1024
    writer.close()


async def test_a_log_that_is_removed_while_it_is_sent_ends(board: Any) -> None:
    run = await board.past.passed()
    log = board.past.log(run.id, "custom", "a line of this log\n" * 1_500_000)
    reader, writer = await asyncio.open_connection("127.0.0.1", board.client._base_url.port)
    writer.write(f"GET /runs/{run.id}/logs/custom.txt HTTP/1.0\r\nHost: x\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    log.unlink()
    async with asyncio.timeout(10):
        got = await reader.read(-1)
    assert len(got) < 19 * 1_500_000
    assert b"internal error" not in got
    writer.close()


async def test_a_log_of_sequences_alone_is_empty_as_text(
    board: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_files, "_CHUNK", 64)
    run = await board.past.passed()
    board.past.log(run.id, "custom", "\x1b[2J" * 20_000 + "end")
    async with board.client.get(f"/runs/{run.id}/logs/custom.txt") as answer:
        assert await answer.text() == "end"
