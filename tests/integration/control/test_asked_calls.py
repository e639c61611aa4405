"""Calls that an agent's gateway holds back, decided in a real room of a real Synapse.

Program (the SDK's MCP client), gateway, agent's ACP process, control plane and homeserver are real.
"""

from __future__ import annotations

import asyncio
import json
import signal
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from entering import command, socket_of
from gatewaying import Running, allow, document, running, server, told

HERE = Path(__file__).parents[2] / "support"
NAMES = ("alice", "bob", "vera")
TOKENS: dict[str, str] = {}
URL = "https://a.example/"


class Team:
    """Alice and Bob, whom pm's Gosuto names; Vera, who looks; and pm with its gateway."""

    def __init__(self, homeserver: Any, control: Any, room_class: Any, wait_for: Any) -> None:
        self.homeserver, self.control, self.wait_for = homeserver, control, wait_for
        self.room_class = room_class
        self.pool = ThreadPoolExecutor(2)

    def enter(self) -> None:
        self.room_id = self.control.start()["room"]["id"]
        self.rooms = {}
        for name in NAMES:
            if name not in TOKENS:
                TOKENS[name] = self.homeserver.create_user(name)
            path = f"/_matrix/client/v3/join/{self.room_id}"
            assert self.homeserver.request("POST", path, TOKENS[name], {}).status_code == 200
            self.rooms[name] = self.room_class(self.homeserver, self.room_id, TOKENS[name])

    def employ(self, gateway: Running, place: Path) -> None:
        """Give pm its Gosuto, start it, and wait until its gateway decides by it."""
        content = document(
            {"web": server("good", place / "web")},
            {"echo": allow("web/echo"), "fetch": allow("web/fetch", "ask")},
            approvals={"approvers": ["@alice:agency.example", "@bob:agency.example"]},
        )
        file = place / "pm.json"
        file.write_bytes(content)
        asked = self.pool.submit(
            command, socket_of(self.control), "gosuto", "set", "pm", attach=file
        )
        waits = self.wait_for(
            lambda: self.control.query("SELECT id FROM operations WHERE state = 'waiting'"),
            "an operation that waits",
        )
        self.rooms["bob"].ask(f"approve {waits[0][0]}")
        status, answer = asked.result(timeout=30)
        assert status == 0, answer
        assert "pm runs" in self.rooms["alice"].ask("!agency agents start pm")["body"]
        assert "pm holds version 1" in self.rooms["alice"].ask("!agency gosuto push pm")["body"]
        asyncio.run(gateway.until(lambda s: s.policy_sha256 and s.servers[0].health == "ok"))

    def call(self, gateway: Running, url: str) -> Future[str]:
        """Have pm's program call the tool that is asked about."""

        async def call() -> str:
            async with asyncio.timeout(60), gateway.program() as program:
                return told(await program.call_tool("web__fetch", {"url": url}))

        return self.pool.submit(lambda: asyncio.run(call()))

    def said(self) -> list[dict[str, Any]]:
        """What the bot said, oldest first."""
        found = self.homeserver.messages(TOKENS["alice"], self.room_id)
        return [e for e in found[::-1] if e["sender"] == "@agency:agency.example"]

    def prompts(self, url: str = URL) -> list[dict[str, Any]]:
        beginning = "Approval ask-"
        return [
            event
            for event in self.said()
            if event["content"].get("body", "").startswith(beginning)
            and json.dumps({"url": url}) in event["content"]["body"]
        ]

    def prompt(self, url: str = URL) -> dict[str, Any]:
        return dict(self.wait_for(lambda: self.prompts(url), "a prompt", 30)[0])

    def hears(self, words: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            found = [e for e in self.said() if words in e["content"].get("body", "")]
            return found[-1] if found else None

        return dict(self.wait_for(look, words, 30))

    def react(self, by: str, to: str, key: str) -> None:
        relation = {"rel_type": "m.annotation", "event_id": to, "key": key}
        path = f"/_matrix/client/v3/rooms/{self.room_id}/send/m.reaction/r{by}{abs(hash(to))}"
        sent = self.homeserver.request("PUT", path, TOKENS[by], {"m.relates_to": relation})
        assert sent.status_code == 200, sent.text


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gw-") as directory:
        yield Path(directory)


@pytest.fixture
def gateway(place: Path) -> Iterator[Running]:
    with running(place) as made:
        asyncio.run(made.start())
        yield made


@pytest.fixture
def team(
    homeserver: Any,
    control: Any,
    gateway: Running,
    place: Path,
    room_class: Any,
    wait_for: Callable[..., Any],
) -> Iterator[Team]:
    control.config |= {
        "operators": ["@alice:agency.example", "@bob:agency.example"],
        "viewers": ["@vera:agency.example"],
    }
    token = place / "credentials" / "gateway-control-token"
    control.program = (str(HERE / "with_gateway.py"), str(gateway.control_socket), str(token))
    made = Team(homeserver, control, room_class, wait_for)
    made.enter()
    made.employ(gateway, place)
    yield made
    gateway.kill()  # so that no call waits any more
    made.pool.shutdown(cancel_futures=True)


def calls(place: Path) -> list[Any]:
    file = place / "web" / "calls"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_a_call_waits_for_a_person_through_the_end_of_either_side(
    team: Team, gateway: Running, place: Path
) -> None:
    first = team.call(gateway, URL)
    prompt = team.prompt()
    body = prompt["content"]["body"]
    assert "pm asks to call web/fetch, by the rule fetch of its Gosuto." in body
    assert "@alice:agency.example, @bob:agency.example may decide" in body
    team.react("vera", prompt["event_id"], "✅")
    team.control.stop(signal.SIGKILL)
    team.control.start()
    team.wait_for(lambda: "1 of 2 agents run." in ran(team), "pm, started again", 30)
    short = body.split()[1][:10]
    listed = team.rooms["vera"].ask("!agency approvals list")["body"]
    assert short in listed
    assert "web/fetch" in listed
    assert calls(place) == []
    assert not first.done()

    team.react("alice", prompt["event_id"], "✅")
    assert "denied" not in first.result(timeout=60)
    assert calls(place) == [["fetch", {"url": URL}]]
    told_ = team.hears("Approved by @alice:agency.example: pm: web/fetch, once.")
    assert len(team.prompts()) == 1, "one prompt, through the restart"
    assert told_["content"]["m.relates_to"]["event_id"] == prompt["event_id"]

    second = team.call(gateway, f"{URL}b")
    other = team.prompt(f"{URL}b")["content"]["body"].split()[1]
    denied = team.rooms["bob"].ask(f"deny {other} not today")["body"]
    assert denied == "Denied: web/fetch of pm."
    assert "denied" in second.result(timeout=60)
    team.hears("Denied by @bob:agency.example (not today): pm: web/fetch.")
    assert calls(place) == [["fetch", {"url": URL}]]

    rows = [
        (row["actor"], row["action"], row["outcome"])
        for row in team.control.audit()
        if row["action"].startswith("approval ")
    ]
    alice, bob = "@alice:agency.example", "@bob:agency.example"
    assert rows == [
        ("system", "approval asked", "waiting"),
        (alice, "approval decided", "accepted"),
        (alice, "approval ended", "granted"),
        ("system", "approval asked", "waiting"),
        (bob, "approval decided", "accepted"),
        (bob, "approval ended", "refused"),
    ]
    assert URL not in json.dumps([r for r in team.control.audit() if "approval " in r["action"]])
    assert team.control.verify() == 0


def ran(team: Team) -> str:
    return str(team.rooms["alice"].ask("!list-agents")["body"])
