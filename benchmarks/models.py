"""The metering proxy: what it adds to a call, and what an idle one holds in memory.

The provider is a stand-in in this process that answers at once; the proxy is the real program. In
turns a call direct, one through the proxy, and a bare commit on the same disk: a call is reserved
on disk before it leaves, and how long the disk takes for that is not the proxy's own part.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from agency.agent.models.client import Endpoint, ModelClient, ModelLimits
from agency.agent.models.conversation import ModelRequest, UserMessage
from agency.secrets import SecretValue
from benchmarks.rows import Row, percentile

_CALLS = 300
_TOKEN = "a-token-of-the-bench"  # noqa: S105 - of this run alone
_REQUEST = ModelRequest("m", (UserMessage("hello " * 200),), 100)
_ANSWER = {
    "choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 200, "completion_tokens": 1},
}


@asynccontextmanager
async def _provider() -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.json_response(_ANSWER)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _proxy(url: str, place: Path) -> AsyncIterator[int]:
    """Run the proxy on a socket in `place`; yield its pid."""
    (place / "key").write_text("the-key-of-a-provider")
    price = {"input": 1.0, "output": 1.0}
    account = {
        "tokenSha256": hashlib.sha256(_TOKEN.encode()).hexdigest(),
        "models": ["m"],
        "tokensPerDay": 10_000_000_000,
        "usdPerDay": 1_000_000.0,
        "requestsPerMinute": 100_000,
    }
    config = {
        "socket": str(place / "s"),
        "database": str(place / "ledger.db"),
        "providers": {"p": {"url": url, "format": "openai", "credential": "key"}},
        "models": {"m": {"provider": "p", "price": price}},
        "accounts": {"pm": account},
        "auditSocket": str(place / "none"),
    }
    (place / "proxy.json").write_text(json.dumps(config))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agency", "agent", "proxy"),
        *("--config", str(place / "proxy.json")),
        env={**os.environ, "CREDENTIALS_DIRECTORY": str(place)},
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process.pid
    finally:
        process.terminate()
        await process.wait()


def _client(url: str, socket: Path | None = None) -> ModelClient:
    path = None if socket is None else str(socket)
    endpoint = Endpoint(url, SecretValue(_TOKEN), socket=path)
    return ModelClient(endpoint, ModelLimits(tries=30, first_wait_s=0.5, longest_wait_s=0.5))


async def _timed(client: ModelClient) -> float:
    begun = time.perf_counter()
    await client.ask(_REQUEST, stream=False)
    return time.perf_counter() - begun


class _BareCommits:
    """A SQLite file of the ledger's settings, with one row more at each commit."""

    def __init__(self, place: Path) -> None:
        self._connection = sqlite3.connect(place, isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute("CREATE TABLE IF NOT EXISTS bare (row TEXT)")

    def timed(self) -> float:
        begun = time.perf_counter()
        self._connection.execute("INSERT INTO bare VALUES ('a row of the ledger')")
        return time.perf_counter() - begun

    def close(self) -> None:
        self._connection.close()


async def _calls(
    url: str, socket: Path, calls: int
) -> tuple[list[float], list[float], list[float]]:
    direct, through, commits = [], [], []
    bare = _BareCommits(socket.with_name("bare.db"))
    async with _client(url) as plain, _client("http://proxy", socket) as proxied:
        for client in (plain, proxied):
            for _ in range(10):
                await _timed(client)
        for _ in range(calls):
            direct.append(await _timed(plain))
            through.append(await _timed(proxied))
            commits.append(bare.timed())
    bare.close()
    return direct, through, commits


def pss_mb(pid: int) -> float:
    """Read the proportional set size of a process: proc(5), smaps_rollup."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss:\s+(\d+) kB$", text, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


async def measure(calls: int) -> list[Row]:
    """Measure with so many calls each way."""
    with tempfile.TemporaryDirectory(prefix="agency-bench-") as directory:
        place = Path(directory)
        async with _provider() as url:
            async with _proxy(url, place):  # makes the ledger
                await _calls(url, place / "s", 1)
            async with _proxy(url, place) as pid:
                direct, through, commits = await _calls(url, place / "s", calls)
                memory = pss_mb(pid)
    plain = (percentile(direct, 0.5) + percentile(commits, 0.5)) * 1000
    own = percentile(through, 0.5) * 1000 - plain
    return [
        Row("models.proxy.p50", own, "ms", "the call direct, and a bare commit", plain, 20.0),
        Row("models.proxy.pss", memory, "MiB", "this process", pss_mb(os.getpid()), 80.0),
    ]


def rows() -> Iterator[Row]:
    """Yield what the proxy adds to a call, and its memory after the calls."""
    yield from asyncio.run(measure(_CALLS))
