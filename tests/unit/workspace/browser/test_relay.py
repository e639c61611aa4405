"""Messages between a tool server and the browser, and the browser kept running."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agency.workspace.browser import pipe as pipes
from agency.workspace.browser.door import Door, listen_beside, serving
from agency.workspace.browser.launching import places_of
from agency.workspace.browser.pipe import BrowserError, Pipe, open_pipe
from agency.workspace.browser.relay import MOST_WAITING, Client
from agency.workspace.browser.running import Keeper, Pace
from agency.workspace.config import AgentSettings

CHROMIUM = '''#!{python}
"""A Chromium that answers what it must, and nothing else."""
import json, os, signal, sys
open({started!r}, "a").write(f"{{os.getpid()}}\\n")
data = b""
while chunk := os.read(3, 65536):
    data += chunk
    while b"\\0" in data:
        raw, _, data = data.partition(b"\\0")
        said = json.loads(raw)
        answer = {{"id": said["id"], "result": {{"sessionId": "ROOT", "product": "Fake/1"}}}}
        if "sessionId" in said:
            answer["sessionId"] = said["sessionId"]
        os.write(4, json.dumps(answer).encode() + b"\\0")
        if said["method"] == "Browser.close":
            open({started!r}, "a").write("closed\\n")
            sys.exit(0)
'''


class Nowhere:
    def take_number(self) -> int:
        self.number = getattr(self, "number", 100) + 1
        return self.number


def client() -> Client:
    return Client(Nowhere(), "ROOT")  # type: ignore[arg-type]  # only its numbers are used


def test_a_command_and_its_answer_go_by_the_tool_servers_own_number() -> None:
    made = client()
    sent = made.to_browser({"id": 7, "method": "Browser.getVersion"})
    assert sent == {"id": 101, "method": "Browser.getVersion", "sessionId": "ROOT"}
    assert made.to_client({"id": 101, "result": {}, "sessionId": "ROOT"}) == {"id": 7, "result": {}}
    page = made.to_browser({"id": 8, "method": "Page.enable", "sessionId": "PAGE"})
    assert page["sessionId"] == "PAGE"
    event = {"method": "Page.loaded", "sessionId": "PAGE", "params": {}}
    assert made.to_client(event) == event


def test_what_is_for_another_or_for_us_is_not_told() -> None:
    made = client()
    assert made.to_client({"id": 55, "result": {"of": "one that is gone"}}) is None
    assert made.to_client({"method": "Target.attachedToTarget", "params": {}}) is None
    assert made.to_client({"method": "Target.x", "sessionId": "ROOT"}) == {"method": "Target.x"}


def test_what_is_no_command_or_too_much_is_refused() -> None:
    made = client()
    assert made.refusal({"id": 1, "method": "Page.enable"}) is None
    for wrong in ({"id": "1", "method": "Page.enable"}, {"id": 1}, {"method": "Page.enable"}):
        assert made.refusal(wrong) is not None
    for number in range(MOST_WAITING):
        made.to_browser({"id": number, "method": "Page.enable"})
    refused = made.refusal({"id": 1, "method": "Page.enable", "sessionId": "PAGE"})
    assert refused is not None
    assert "too many" in refused["error"]["message"]
    assert refused["sessionId"] == "PAGE"


@pytest.mark.parametrize(
    "method",
    ["Browser.close", "Target.createBrowserContext", "Extensions.loadUnpacked"],
)
def test_what_is_not_for_tool_servers_is_refused_also_within_another_command(method: str) -> None:
    """Chromium carries out `message` as a command: seen, a browser ended by it."""
    made = client()
    inner = json.dumps({"id": 1, "method": method, "params": {}})
    params = {"sessionId": "PAGE", "message": inner}
    for said in (
        {"id": 1, "method": method},
        {"id": 1, "method": "Target.sendMessageToTarget", "params": params},
        {"id": 1, "method": "Target.sendMessageToTarget", "params": params, "sessionId": "PAGE"},
    ):
        refused = made.refusal(said)
        assert refused is not None, said
        assert "is not for tool servers" in refused["error"]["message"]
    assert made.refusal({"id": 1, "method": "Target.attachToTarget"}) is None


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Pipe, socket.socket]]:
    ours, theirs = socket.socketpair()
    made = await open_pipe(ours)
    yield made, theirs
    theirs.close()
    await made.close()


@pytest.mark.parametrize("raw", [b"no json\0", b"[1]\0", b"[" * 100_000 + b"\0"])
async def test_a_browser_that_sends_what_is_no_message_is_given_up(
    pair: tuple[Pipe, socket.socket], raw: bytes
) -> None:
    made, theirs = pair
    theirs.setblocking(False)
    await asyncio.get_running_loop().sock_sendall(theirs, b'{"method": "A.b"}\0' + raw)
    messages = made.messages()
    assert await anext(messages) == {"method": "A.b"}
    with pytest.raises(BrowserError):
        await anext(messages)


@pytest.fixture
async def narrow(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Pipe, socket.socket]]:
    """A pipe for messages of at most 1,000 bytes."""
    monkeypatch.setattr(pipes, "MAX_MESSAGE", 1000)
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    made = await open_pipe(ours)
    yield made, theirs
    theirs.close()
    await made.close()


@pytest.mark.parametrize("size", [1000, 1999, 5000, 300_000])
async def test_a_message_that_is_too_long_ends_no_browser(
    narrow: tuple[Pipe, socket.socket], size: int
) -> None:
    """Any page can make one: `console.log("x".repeat(1e8))`."""
    made, theirs = narrow
    long = "x" * size
    said = [
        {"method": "Runtime.consoleAPICalled", "params": {"text": long}, "sessionId": "PAGE"},
        {"method": "Page.loaded", "sessionId": "PAGE", "params": {}},
        {"id": 9, "result": {"value": long}, "sessionId": "PAGE"},
        {"id": 10, "result": {"value": f'"sessionId":"OTHER"{long}'}},
        {"id": 11, "result": {"value": "x" * 900}},
    ]
    data = b"".join(json.dumps(one, separators=(",", ":")).encode() + b"\0" for one in said)
    sending = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(theirs, data))
    messages = made.messages()
    async with asyncio.timeout(20):
        got = [await anext(messages) for _ in range(4)]
        await sending
    assert got[0] == said[1]
    assert got[1]["id"] == 9
    assert got[1]["sessionId"] == "PAGE"
    assert "too long" in got[1]["error"]["message"]
    assert got[2]["id"] == 10
    assert "sessionId" not in got[2]
    assert got[3] == said[4]


async def test_a_message_without_an_end_is_given_up(
    narrow: tuple[Pipe, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, theirs = narrow
    monkeypatch.setattr(pipes, "_MOST_DROPPED", 100_000)
    sending = asyncio.ensure_future(
        asyncio.get_running_loop().sock_sendall(theirs, b"{" + b"x" * 400_000)
    )
    async with asyncio.timeout(20):
        with pytest.raises(BrowserError, match="without an end"):
            await anext(made.messages())
    sending.cancel()


async def test_a_browser_that_is_gone_or_silent_answers_nothing(
    pair: tuple[Pipe, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, theirs = pair
    monkeypatch.setattr(pipes, "_ANSWER_S", 0.05)
    with pytest.raises(BrowserError, match="no answer"):
        await made.call("Browser.getVersion")
    monkeypatch.setattr(pipes, "_ANSWER_S", 5.0)

    async def reads() -> None:
        async for _ in made.messages():
            pass

    reading = asyncio.ensure_future(reads())
    waiting = asyncio.ensure_future(made.call("Browser.getVersion"))
    await asyncio.sleep(0.01)
    theirs.close()
    with pytest.raises(BrowserError, match="gone"):
        await waiting
    await reading


async def test_without_a_browser_a_tool_server_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agency.workspace.browser.door._UP_S", 0.05)
    path = tmp_path / "own" / "cdp.sock"
    connector = aiohttp.UnixConnector(str(path))
    async with (
        serving(Door(), listen_beside(path)),
        aiohttp.ClientSession(connector=connector) as http,
    ):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect("http://browser/")
    assert refused.value.status == 503


@pytest.fixture
def short() -> Iterator[Path]:
    """A place with a short name: the path of a socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="b") as name:
        yield Path(name)


class Kept:
    """A keeper of a stand-in for Chromium."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started = place / "started"
        program = place / "bin" / "chromium"
        program.parent.mkdir()
        program.write_text(CHROMIUM.format(python=sys.executable, started=str(self.started)))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        home = place / "home"
        home.mkdir()
        told = {"name": "pm", "role": "pm", "home": str(home), "browser": {}}
        agent = AgentSettings.model_validate(told)
        assert agent.browser is not None
        self.pauses: list[float] = []
        self.keeper = Keeper(
            agent, agent.browser, places_of(agent, agent.browser), Pace(0.01), sleep=self._sleep
        )

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    def lines(self) -> list[str]:
        return self.started.read_text().split() if self.started.exists() else []

    async def until(self, wanted: Callable[[], Any]) -> Any:
        async with asyncio.timeout(20):
            while not (found := wanted()):  # noqa: ASYNC110 - another process is looked at
                await asyncio.sleep(0.01)
        return found


async def test_it_is_started_again_ever_slower_and_ended_in_good_order(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(short, monkeypatch)
    running = asyncio.ensure_future(kept.keeper.run())
    for times in (1, 2, 3):
        await kept.until(lambda times=times: len(kept.lines()) == times)
        await kept.until(lambda: kept.keeper.door.is_open)
        os.kill(int(kept.lines()[-1]), signal.SIGKILL)
        await kept.until(lambda times=times: len(kept.pauses) == times)
    assert kept.pauses == [0.01, 0.02, 0.04]
    await kept.until(lambda: len(kept.lines()) == 4)
    await kept.until(lambda: kept.keeper.door.is_open)
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(20):
        await running
    assert kept.lines()[-1] == "closed", "it may write down what it holds"
    assert not kept.keeper.places.socket.exists()


async def test_a_tool_server_talks_to_it_through_the_door(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(short, monkeypatch)
    running = asyncio.ensure_future(kept.keeper.run())
    await kept.until(lambda: kept.keeper.door.is_open)
    connector = aiohttp.UnixConnector(str(kept.keeper.places.socket))
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        http.ws_connect("http://browser/") as ws,
    ):
        await ws.send_str(json.dumps({"id": 1, "method": "Browser.getVersion"}))
        answer = await ws.receive_json(timeout=10)
        assert answer == {"id": 1, "result": {"sessionId": "ROOT", "product": "Fake/1"}}
        await ws.send_str(json.dumps({"id": 2, "method": "Browser.close"}))
        assert "error" in await ws.receive_json(timeout=10)
        await ws.send_str("no json")
        assert (await ws.receive(timeout=10)).type is not aiohttp.WSMsgType.TEXT
    assert "closed" not in kept.lines()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_chromium_that_does_not_start_says_why(
    short: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Kept(short, monkeypatch)
    program = short / "bin" / "chromium"
    program.write_text("#!/bin/sh\necho 'no such processor' >&2\nexit 7\n")
    running = asyncio.ensure_future(kept.keeper.run())
    await kept.until(lambda: kept.pauses)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    told = caplog.records[0].__dict__["fields"]["why"]
    assert "exit status 7: no such processor" in told
