"""People who walk along a table of a page, in a room of a real homeserver."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from entry_page import enter, link_in

BOT = "@agency:agency.example"
REPLY_KEY = "org.agency.reply"
_CODE = re.compile(r"`([^`]+)`")
_TRACE = re.compile(r"Trace: (\S+)")


def steps(page: Path) -> list[tuple[str, str, str]]:
    """The rows of a page's table: who does what, and what is said then."""
    head = "| who | does | then |"
    return table(head + page.read_text().partition(head)[2].partition("\n\n")[0])


def table(text: str) -> list[tuple[str, str, str]]:
    """The rows of a table, below its head."""
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in text.splitlines()[1:]
        if line.startswith("| ")
    ]
    return [(who, does, then) for who, does, then in rows]


@dataclass
class Walk:
    """A walk: what its people said and heard; `kill` ends the process of an agent."""

    homeserver: Any
    control: Any
    wait_for: Callable[..., Any]
    tokens: dict[str, str]
    room_id: str
    kill: Callable[[str], None]
    value: str
    transcript: list[str] = field(default_factory=list)
    _heard: set[str] = field(default_factory=set)
    _prompt: dict[str, Any] = field(default_factory=dict)

    def follow(self, rows: list[tuple[str, str, str]]) -> None:
        """Take every step, and wait for what is said then."""
        for who, does, then in rows:
            found = _CODE.search(then)
            assert found is not None, then
            self.step(who, does, found[1])

    def step(self, who: str, does: str, expected: str) -> None:
        """Take one step."""
        if does.startswith("says"):
            text = _CODE.search(does)
            assert text is not None, does
            said = self.filled(text[1])
            if not does.endswith(" until"):
                self.say(who, said)
                self.hear(expected)
                return

            def look() -> bool:
                event = self.say(who, said)
                answer = self.wait_for(lambda: self.answer(event), f"answer to {said}")
                return expected in answer

            self.wait_for(look, f"{expected!r} in the answer to {said}", 30)
        elif does.startswith("reacts with"):
            relation = {"event_id": self._prompt["event_id"], "key": does.split()[-1]}
            content = {"m.relates_to": {"rel_type": "m.annotation", **relation}}
            self.send(who, "m.reaction", content)
            self.hear(expected)
        elif does == "opens the link, and enters the value":
            answer = enter(link_in(self.last("Enter the value")), self.value)
            assert answer.status_code == 200, answer.text
            self.hear(expected)
        elif does.startswith("kills the process of"):
            self.kill(does.split()[-1])
            self.hear(expected, again=True)
        else:
            assert does == "reads", does
            self.hear(expected, again=True)

    def filled(self, text: str) -> str:
        """Put the id of the operation, or the trace, that was last heard in its place."""
        if "OPERATION" in text:
            text = text.replace("OPERATION", self._prompt["content"]["body"].split()[1][:9])
        if "TRACE" in text:
            (trace,) = _TRACE.findall(self.last("Trace: "))
            text = text.replace("TRACE", trace)
        return text

    def send(self, who: str, kind: str, content: dict[str, Any]) -> str:
        path = f"/_matrix/client/v3/rooms/{self.room_id}/send/{kind}/{uuid4().hex}"
        answer = self.homeserver.request("PUT", path, self.tokens[who], content)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["event_id"])

    def say(self, who: str, text: str) -> str:
        self.transcript.append(f"{who}: {text}")
        return self.send(who, "m.room.message", {"msgtype": "m.text", "body": text})

    def events(self) -> list[dict[str, Any]]:
        """What the bot said, oldest first."""
        events = self.homeserver.messages(self.tokens["alice"], self.room_id)
        return sorted(
            (each for each in events if each["sender"] == BOT), key=lambda e: e["origin_server_ts"]
        )

    def answer(self, event_id: str) -> str:
        """The final answer to a message; empty if there is none yet."""
        for each in self.events():
            reply = each["content"].get(REPLY_KEY, {})
            if reply.get("command") == event_id and reply.get("final"):
                self.note(each)
                return str(each["content"]["body"])
        return ""

    def last(self, text: str) -> str:
        """The newest message of the bot with that text."""
        found = [e["content"]["body"] for e in self.events() if text in e["content"]["body"]]
        return str(found[-1])

    def hear(self, text: str, *, again: bool = False) -> None:
        """Wait for a message of the bot with that text, one that was not heard before."""

        def look() -> dict[str, Any] | None:
            for each in self.events():
                fresh = again or each["event_id"] not in self._heard
                if fresh and text in each["content"]["body"]:
                    return each
            return None

        try:
            found = self.wait_for(look, f"{text!r} in the room", 30)
        finally:
            for each in self.events():  # in their order, what was waited for last
                self.note(each)
            self.keep()
        if re.search(r"\basks(:| to call) ", text):
            self._prompt = found

    def keep(self) -> None:
        """Write what was said, for who wants to read it, and what went wrong."""
        if place := os.environ.get("WALK_TRANSCRIPT"):
            Path(place).write_text("\n".join(self.transcript))

    def note(self, event: dict[str, Any]) -> None:
        if event["event_id"] not in self._heard:
            self._heard.add(event["event_id"])
            self.transcript.append(f"bot: {event['content']['body']}")
