"""The real `agency agent chat`, beside a real Synapse and a scripted model."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fronting import Front, fronting
from scripted_model import ScriptedModel, Turn, scripted

from agency.files import write_atomically
from agency.gosuto import Document, canonical

ME = "@agent-pm:agency.example"
ALICE = "@alice:agency.example"
CLIENT = "/_matrix/client/v3"
COMMAND = ("-m", "agency", "agent", "chat", "--config")


def wait_for(look: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    """What `look` finds, asked again until it finds something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.05)
    pytest.fail(f"within {seconds:g} s there was no {what}")


class Model:
    """The scripted model in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._over = asyncio.Event()
        self.scripted: ScriptedModel
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def _run(self) -> None:
        async def serve() -> None:
            async with scripted() as self.scripted:
                self._ready.set()
                await self._over.wait()

        self._loop.run_until_complete(serve())

    def script(self, *turns: Turn) -> None:
        """Begin a new script."""
        self.scripted.script[:] = turns
        self.scripted.asked.clear()
        self._loop.call_soon_threadsafe(self.scripted.go.clear)

    def go(self) -> None:
        self._loop.call_soon_threadsafe(self.scripted.go.set)

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)


@dataclass
class Chat:
    """An agent in a room: its policy, configuration and, while it runs, its process."""

    homeserver: Any
    front: Front
    model: Model
    place: Path
    room: str
    alice: str
    config: dict[str, Any]
    policy: dict[str, Any]
    process: subprocess.Popen[bytes] | None = None
    _txns: Iterator[int] = field(default_factory=itertools.count)

    @property
    def log(self) -> str:
        return (self.place / "log").read_text()

    def write_policy(self, **changes: Any) -> None:
        self.policy |= changes
        data = {"apiVersion": "gosuto/v1", "metadata": {"name": "pm"}, **self.policy}
        document = Document.model_validate(data, by_alias=True)
        write_atomically(self.place / "gosuto.json", canonical(document))

    def start(self) -> None:
        """Start it, and wait until it listens."""
        (self.place / "chat.json").write_text(json.dumps(self.config))
        before = len(self.log) if (self.place / "log").exists() else 0
        with (self.place / "log").open("ab") as sink:
            self.process = subprocess.Popen(
                [sys.executable, *COMMAND, str(self.place / "chat.json")],
                stdout=sink,
                stderr=sink,
                env={**os.environ, "CREDENTIALS_DIRECTORY": str(self.place / "credentials")},
            )

        def listens() -> bool:
            assert self.process is None or self.process.poll() is None, self.log
            return '"listening"' in self.log[before:]

        wait_for(listens, "listening agent")
        begun = len(self.front.calls)
        wait_for(lambda: self.synced(begun), "first sync")

    def synced(self, begun: int) -> bool:
        """A long poll is under way, which begins when what came before was taken."""
        calls = self.front.calls[begun:]
        return any("/sync?timeout=20000&" in path for _, path in calls)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(15)

    def call(self, method: str, path: str, token: str, body: Any = None) -> Any:
        answer = self.homeserver.request(method, f"{CLIENT}/{path}", token, body)
        answer.raise_for_status()
        return answer.json()

    def invited(self) -> str:
        """Make another room with alice, to which the agent is invited."""
        body = {"preset": "private_chat", "invite": [ME]}
        return str(self.call("POST", "createRoom", self.alice, body)["room_id"])

    def ask(self, text: str, token: str = "", **content: Any) -> str:
        """Say something to the agent, by a mention."""
        mentions = {"m.mentions": {"user_ids": [ME]}}
        said = self.homeserver.say(token or self.alice, self.room, text, **{**mentions, **content})
        return str(said)

    def redact(self, event_id: str) -> None:
        path = f"rooms/{self.room}/redact/{event_id}/{next(self._txns)}{event_id[1:5]}"
        self.call("PUT", path, self.alice, {})

    def own(self) -> list[dict[str, Any]]:
        """All that the agent said, the oldest first."""
        found = self.homeserver.messages(self.alice, self.room)[::-1]
        return [each for each in found if each["sender"] == ME and each["content"]]

    def replies(self, event_id: str) -> list[dict[str, Any]]:
        """Replies to a message, without edits."""
        return [
            each
            for each in self.own()
            if each["content"].get("m.relates_to", {}).get("rel_type") == "m.thread"
            and each["content"]["org.agency.agent"]["answers"] == event_id
        ]

    def edits(self, reply: str) -> list[str]:
        """Texts that edits gave to a reply."""
        return [
            each["content"]["m.new_content"]["body"]
            for each in self.own()
            if each["content"].get("m.relates_to", {}).get("event_id") == reply
            and "m.new_content" in each["content"]
        ]

    def text(self, event_id: str) -> str:
        """What the reply to a message says now; empty if there is none."""
        replies = self.replies(event_id)
        if not replies:
            return ""
        return [replies[0]["content"]["body"], *self.edits(replies[0]["event_id"])][-1]

    def answered(self, event_id: str, text: str) -> dict[str, Any]:
        """The one reply to a message, when it says this."""
        wait_for(lambda: self.text(event_id) == text, f"answer {text!r}")
        (reply,) = self.replies(event_id)
        return reply


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    found = Model()
    yield found
    found.end()


@pytest.fixture(scope="module")
def alice(homeserver: Any) -> str:
    return str(homeserver.create_user("alice"))


@pytest.fixture(scope="module")
def mallory(homeserver: Any) -> str:
    """A stranger whose shown name is the operator's id."""
    token = str(homeserver.create_user("mallory"))
    path = f"{CLIENT}/profile/{quote('@mallory:agency.example')}/displayname"
    homeserver.request("PUT", path, token, {"displayname": ALICE}).raise_for_status()
    return token


def account(homeserver: Any, localpart: str) -> str:
    """The access token of an agent's account, as the application service is given it."""
    kind = "m.login.application_service"
    body = {"type": kind, "username": localpart, "inhibit_login": True}
    homeserver.request("POST", f"{CLIENT}/register", homeserver.as_token, body)
    user = {"type": "m.id.user", "user": localpart}
    answer = homeserver.request(
        "POST",
        f"{CLIENT}/login",
        homeserver.as_token,
        {"type": kind, "identifier": user, "device_id": "AGENCYROOMS"},
    )
    answer.raise_for_status()
    return str(answer.json()["access_token"])


@pytest.fixture(scope="module")
def token(homeserver: Any) -> str:
    return account(homeserver, "agent-pm")


@pytest.fixture(scope="module")
def peer(homeserver: Any) -> str:
    """The access token of another agent."""
    return account(homeserver, "agent-developer")


@pytest.fixture
def chat(
    homeserver: Any, model: Model, alice: str, mallory: str, peer: str, token: str, tmp_path: Path
) -> Iterator[Chat]:
    """An agent in a room of its own with alice, whom it obeys, and mallory; not started."""
    others = {ALICE: alice, "@mallory:agency.example": mallory}
    body = {"preset": "private_chat", "invite": [ME, *others]}
    # The application service makes the room: it has no limit of rooms in a minute.
    path = f"{CLIENT}/createRoom?user_id={quote('@agent-developer:agency.example')}"
    answer = homeserver.request("POST", path, homeserver.as_token, body)
    answer.raise_for_status()
    room = str(answer.json()["room_id"])
    for each in others.values():
        homeserver.request("POST", f"{CLIENT}/join/{room}", each, {}).raise_for_status()
    credentials = tmp_path / "credentials"
    credentials.mkdir(mode=0o700)
    (credentials / "matrix-token").write_text(token)
    (credentials / "model-token").write_text("scripted")
    with fronting(homeserver.url) as front:
        config = {
            "agent": "pm",
            "user": ME,
            "homeserver": front.url,
            "gosuto": str(tmp_path / "gosuto.json"),
            "state": str(tmp_path / "state"),
            "model": {"url": model.scripted.url},
            "firstS": 0.3,
            "editS": 0.3,
        }
        policy: dict[str, Any] = {
            "trust": {"rooms": [room], "senders": [ALICE]},
            "persona": {"model": "small"},
            "messaging": {"messagesPerMinute": 100},
        }
        made = Chat(homeserver, front, model, tmp_path, room, alice, config, policy)
        made.write_policy()
        yield made
        model.go()
        if made.process is not None and made.process.poll() is None:
            made.kill()
