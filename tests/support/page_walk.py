"""A page that is followed as a person would: its commands in a shell, its files, its rooms.

console ─▶ one bash        yaml, python ─▶ a file, or more of one        table ─▶ rooms
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
import yaml
from walking import Walk, table

CLIENT = "/_matrix/client/v3"
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Part:
    """A fenced block or a table of a page; `before` is the text above it."""

    kind: str
    text: str
    before: str


def parts(page: str) -> Iterator[Part]:
    """The parts that are followed, in the order of the page."""
    pattern = re.compile(r"^```(\w+)\n(.*?)^```$|^(\| who \|.*?\n)(?=\n)", re.DOTALL | re.MULTILINE)
    end = 0
    for found in pattern.finditer(page):
        before = page[end : found.start()].strip()
        yield Part(found[1] or "table", found[2] or found[3], before)
        end = found.end()


@dataclass
class Shell:
    """One bash, as a person's; what it says is kept."""

    place: Path
    environment: dict[str, str]
    log: list[str] = field(default_factory=list)
    inside: int | None = None  # a process in whose network it is

    def __post_init__(self) -> None:
        network = (
            () if self.inside is None else ("nsenter", f"--net=/proc/{self.inside}/ns/net", "--")
        )
        self.process = subprocess.Popen(
            [*network, "bash", "--noprofile", "--norc"],
            cwd=self.place,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
        )
        self.run("set -m")  # job control: `kill %1`

    def run(self, command: str) -> str:
        """Run a command; return what it says. It must succeed."""
        mark = f"--{uuid4().hex}--"
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        # Nothing reads what the shell itself is to read.
        self.process.stdin.write(f"{{ {command}\n}} </dev/null\ns=$?; echo; echo {mark} $s\n")
        self.process.stdin.flush()
        said = []
        for line in self.process.stdout:
            if line.startswith(mark):
                status = line.split()[1]
                break
            said.append(line)
        else:
            pytest.fail("the shell ended")
        self.log.append(f"$ {command}\n{''.join(said)}")
        assert status == "0", self.log[-1]
        return "".join(said)

    def close(self) -> None:
        """End it, and what it still runs."""
        if self.process.poll() is None:
            self.process.communicate("kill $(jobs -p) 2>/dev/null; exit\n", timeout=20)


class Homeserver:
    """A homeserver at an address, as the walk of a room needs it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def request(self, method: str, path: str, token: str, body: Any = None) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return requests.request(method, self.url + path, headers=headers, json=body, timeout=30)

    def messages(self, token: str, room: str) -> list[dict[str, Any]]:
        path = f"{CLIENT}/rooms/{room}/messages?dir=b&limit=200"
        chunk = self.request("GET", path, token).json()["chunk"]
        return [each for each in chunk if each["type"] == "m.room.message"]


def wait_for(look: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    until = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < until, f"no {what} within {seconds:g} s"
        time.sleep(0.1)
    return found


@dataclass
class AgentWalk(Walk):
    """A walk in which people also ask an agent in a room of its own."""

    agent: str = "@agent-pm:agency.example"
    own_room: str = ""
    asked: str = ""

    def step(self, who: str, does: str, expected: str) -> None:
        """Take one step."""
        said = _CODE.search(does)
        if does.startswith("makes a room"):
            assert said is not None
            body = {"preset": "private_chat", "invite": [said[1]]}
            made = self.homeserver.request("POST", f"{CLIENT}/createRoom", self.tokens[who], body)
            self.own_room = str(made.json()["room_id"])
        elif does.startswith("asks "):
            assert said is not None
            self.asked = self._ask(who, said[1])
            self._hear_agent(expected)
        elif does.startswith("waits in"):
            path = f"{CLIENT}/rooms/{self.own_room}/joined_members"

            def joined() -> bool:
                told = self.homeserver.request("GET", path, self.tokens[who]).json()
                return expected in told.get("joined", {})

            self.wait_for(joined, f"{expected} in its room", 60)
        elif does == "is answered":
            self._hear_agent(expected)
        else:
            super().step(who, does, expected)

    def _ask(self, who: str, text: str) -> str:
        self.transcript.append(f"{who}, in pm's room: {text}")
        body = {
            "msgtype": "m.text",
            "body": f"@agent-pm {text}",
            "m.mentions": {"user_ids": [self.agent]},
        }
        path = f"{CLIENT}/rooms/{self.own_room}/send/m.room.message/{uuid4().hex}"
        sent = self.homeserver.request("PUT", path, self.tokens[who], body)
        assert sent.status_code == 200, sent.text
        return str(sent.json()["event_id"])

    def _hear_agent(self, expected: str) -> None:
        def look() -> bool:
            events = self.homeserver.messages(self.tokens["alice"], self.own_room)
            own = [each for each in events if each["sender"] == self.agent]
            thread = {
                each["event_id"]
                for each in own
                if each["content"].get("m.relates_to", {}).get("event_id") == self.asked
            }
            heard = [
                each["content"]["body"]
                for each in own
                if {each["event_id"], each["content"].get("m.relates_to", {}).get("event_id")}
                & thread
            ]
            return any(expected in each for each in heard)

        self.wait_for(look, f"{expected!r} of the agent", 30)
        self.transcript.append(f"{self.agent}: {expected}")


@dataclass
class Page:
    """A page on its way; `enter` begins the walk in the rooms, once there are any."""

    shell: Shell
    enter: Callable[[], AgentWalk]
    walk: AgentWalk | None = None

    @property
    def place(self) -> Path:
        """Directory in which the shell is."""
        return Path(self.shell.run("pwd").strip())

    def follow(self, page: str) -> None:
        """Follow a page to its end."""
        for each in parts(page):
            match each.kind:
                case "console":
                    self._console(each.text)
                case "table":
                    if each.text.startswith("| who |"):
                        self.walk = self.walk or self.enter()
                        self.walk.follow(table(each.text))
                case "yaml" | "python":
                    self._file(each)

    def _console(self, text: str) -> None:
        said = ""
        for line in text.splitlines():
            if line.startswith("$ "):
                said = self.shell.run(line[2:])
            else:
                shown = [" ".join(each.split()) for each in said.splitlines()]
                wanted = " ".join(line.split())
                assert any(wanted in each for each in shown), f"{line!r} in:\n{said}"

    def _file(self, part: Part) -> None:
        sentence = part.before.rpartition("\n\n")[2].replace("\n", " ")
        change = re.search(r"Change `([a-z.]+)` so that it has", sentence)
        text = part.text
        if change is None:
            named = re.search(r"`([a-z_/-]+\.(?:yaml|py))`:\Z", sentence)
            assert named is not None, sentence
            (self.place / named[1]).write_text(text)
            return
        if self.walk is not None:
            text = text.replace("ROOM", self.walk.own_room)
        file = self.place / change[1]
        told = yaml.safe_load(file.read_text())
        told.update(yaml.safe_load(text))
        file.write_text(yaml.safe_dump(told, sort_keys=False))


def environment(place: Path) -> dict[str, str]:
    """A home of its own; a short one, as sockets lie below it."""
    (place / "home").mkdir()
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(place / "home"),
        "XDG_STATE_HOME": str(place / "state"),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        **({"TMPDIR": os.environ["TMPDIR"]} if "TMPDIR" in os.environ else {}),
    }
