"""A command-line agent as the program behind rooms: a stand-in, with the real proxy and gateway."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from gateway_desk import Desk, FakeTools, policy, tool
from proxied import TOKENS, proxied
from scripted_model import Turn, scripted

from agency.agent.gateway.calls.results import Block, Raw
from agency.agent.gateway.front import serve_front
from agency.agent.programs.tools import NoTools
from agency.agent.rooms.config import ChatConfig
from agency.agent.rooms.own_agent import OwnAgent, OwnAgentError
from agency.agent.rooms.program import Assignment
from agency.children import stat_fields
from agency.errors import AgencyError
from agency.gosuto import read_document
from agency.unix_sockets import listen_at

STAND_IN = Path(__file__).parents[2] / "support" / "stands_in_for_agent.py"
GATEWAY_TOKEN = "token-for-tools-in-tests"
DOCUMENT = read_document(
    "test",
    json.dumps(
        {
            "apiVersion": "gosuto/v1",
            "metadata": {"name": "pm"},
            "persona": {"prompt": "Answer in verse."},
        }
    ).encode(),
)


@dataclass
class Scene:
    place: Path
    proxy: str
    model: str
    desk: Desk

    def agent(self, **more: Any) -> OwnAgent:
        told = {
            "agent": "pm",
            "user": "@agent-pm:agency.example",
            "homeserver": "http://127.0.0.1:1",
            "gosuto": str(self.place / "policy.json"),
            "state": str(self.place / "state"),
            "model": {"url": self.proxy},
            "gateway": {"socket": "mcp.sock"},
            "defaultModel": "small",
            "command": {
                "agent": "opencode",
                "program": [sys.executable, str(STAND_IN)],
                "workspace": str(self.place / "workspace"),
                "state": str(self.place / "own"),
            },
            **more,
        }
        config = ChatConfig.model_validate_json(json.dumps(told))
        assert config.command is not None
        return OwnAgent(config, config.command, self.place / "credentials")

    async def ask(self, text: str, **more: Any) -> str:
        return await self.agent(**more).work(asked(text), DOCUMENT, NoTools(), lambda _: None)


def asked(text: str) -> Assignment:
    return Assignment("$event", "!room:x", "$event", "@alice:agency.example", text)


def runs(pid: int) -> bool:
    """Whether a process runs; one that nobody reaped yet does not."""
    try:
        return stat_fields(pid)[0] not in ("Z", "X")
    except OSError:
        return False


Open = Callable[[], AbstractAsyncContextManager[Scene]]


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens the scene: in the test's own task, as what is served ends in the one that began it."""
    return lambda: _scene(tmp_path, monkeypatch)


@asynccontextmanager
async def _scene(place: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.chdir(place)  # where the agent's processes run, and from where sockets are named
    monkeypatch.setenv("AGENCY_RUN", "marked-by-a-runtime")
    monkeypatch.setenv("A_SECRET_OF_THE_CALLER", "told to nobody")
    for name in ("credentials", "state", "proxy"):
        (place / name).mkdir()
    (place / "credentials/model-token").write_text(TOKENS["pm"])
    (place / "credentials/gateway-token").write_text(GATEWAY_TOKEN)
    tools = FakeTools({name: tool(name) for name in ("web/look", "web/erase")})
    tools.answer = lambda: Raw((Block("text", "the note says forty-two"),), None, failed=False)
    desk = Desk(place, tools)
    desk.dispatcher.set_policy(policy({"look": ("web/look", "allow")}))
    async with (
        scripted(Turn("It is forty-two."), Turn("Again.")) as model,
        proxied(model.url, place / "proxy") as proxy,
        serve_front(desk.dispatcher, GATEWAY_TOKEN, listen_at(Path("mcp.sock"), hint="free it")),
    ):
        yield Scene(place, proxy.url, model.url, desk)


async def test_it_reaches_gateway_and_proxy_and_nothing_else(opened: Open) -> None:
    async with opened() as scene:
        outside = [urlsplit(url).netloc for url in (scene.proxy, scene.model)]
        for each in outside:
            host, _, port = each.partition(":")
            (await asyncio.open_connection(host, int(port)))[
                1
            ].close()  # from here they are reached
        tries = " ".join(f"try={each}" for each in [*outside, "192.0.2.1:443"])
        found = json.loads(await scene.ask(f"Look. {tries}"))
        assert found["said"] == "It is forty-two."
        assert found["tool"]
        assert scene.desk.tools.made == [("web/look", {"text": "forty-two"})]
        assert set(found["reached"].values()) == {"Connection refused", "Network is unreachable"}
        if os.geteuid() == 0:
            assert set(found["rights"]) == {"0" * 16}


async def test_it_is_told_persona_and_asker_and_inherits_nothing(opened: Open) -> None:
    async with opened() as scene:
        found = json.loads(await scene.ask("How much?"))
        assert "Answer in verse." in found["task"]
        assert "@alice:agency.example asks in a room:\n\nHow much?" in found["task"]
        assert "interrupted" not in found["task"]
        assert "AGENCY_RUN" in found["environment"], "by this a runtime finds what a kill left"
        assert not [
            name for name in found["environment"] if "SECRET" in name or "CREDENTIALS" in name
        ]


async def test_taken_up_again_it_knows_and_a_new_message_does_not(opened: Open) -> None:
    async with opened() as scene:
        with pytest.raises(OwnAgentError, match="no answer after"):
            await scene.ask("hang", wallS=3)
        assert "You were interrupted" in json.loads(await scene.ask("Go on."))["task"]
        scene.agent().forget(asked("Go on."))
        assert "You were interrupted" not in json.loads(await scene.ask("Anew."))["task"]
        scene.agent().forget(asked("Anew."))
        left = [each.name for each in (scene.place / "state").iterdir()]
        assert left == []


async def test_a_cancel_ends_it_whatever_it_ignores(opened: Open) -> None:
    async with opened() as scene:
        task = asyncio.create_task(scene.ask("hang"))
        mark = scene.place / "own" / "hangs"
        async with asyncio.timeout(20):
            while not (mark.exists() and mark.read_text()):  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.02)
        pid = int(mark.read_text())
        assert runs(pid)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(5):
            while runs(pid):  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("text", "more", "why"),
    [
        ("fail", {}, "ended with status 1"),
        ("x", {"gateway": None}, "needs a model, and a gateway"),
        ("x", {"defaultModel": None}, "needs a model, and a gateway"),
    ],
)
async def test_without_an_answer_it_says_why(
    opened: Open, text: str, more: dict[str, Any], why: str
) -> None:
    async with opened() as scene:
        with pytest.raises(AgencyError, match=why):
            await scene.ask(text, **more)
