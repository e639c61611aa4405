"""The approvals room and the audit room, as docs/control-room.md tells them, on a real Synapse."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
from entering import command, socket_of

PAGE = Path(__file__).resolve().parents[4] / "docs" / "control-room.md"
BOT = "@agency:agency.example"
GATED = {"rules": [{"name": "stops", "commands": ["agents stop"], "quorum": 1}]}
ROOMS = {"control room": "#control", "approvals room": "#approvals", "audit room": "#audit"}
_CODE = re.compile(r"`([^`]+)`")


def steps() -> list[tuple[str, str, str, str]]:
    """The rows of the page's example."""
    section = PAGE.read_text().partition("| who | where | does | then |")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("| ")
    ]
    return [(who, where, does, then) for who, where, does, then in rows]


class People:
    """Alice, who operates; Carol, who approves; Vera, who looks; each in the rooms they may see."""

    def __init__(
        self, homeserver: Any, control: Any, wait_for: Any, tokens: dict[str, str]
    ) -> None:
        self.homeserver, self.control, self.wait_for = homeserver, control, wait_for
        self.tokens = tokens
        self.heard: set[tuple[str, str]] = set()
        self.old: set[str] = set()

    def start(self) -> None:
        self.control.start()
        self.ids: dict[str, str] = {}
        for title, alias in ROOMS.items():
            name = quote(f"{alias}:agency.example")
            found = self.wait_for(lambda name=name: self.enter("alice", name), f"the {title}")
            self.ids[title] = found
        self.old = {event["event_id"] for title in ROOMS for event in self.said(title)}
        rooms = {
            "carol": ("control room", "approvals room"),
            "vera": ("control room", "audit room"),
        }
        for who, titles in rooms.items():
            for title in titles:
                room = self.ids[title]
                self.wait_for(lambda who=who, room=room: self.enter(who, room), f"{who}'s {title}")

    def enter(self, who: str, room: str) -> str:
        answer = self.homeserver.request(
            "POST", f"/_matrix/client/v3/join/{room}", self.tokens[who], {}
        )
        return str(answer.json().get("room_id", ""))

    def said(self, title: str) -> list[dict[str, Any]]:
        """What the bot said in a room since this start, oldest first."""
        events = self.homeserver.messages(self.tokens["alice"], self.ids[title])
        own = [e for e in events if e["sender"] == BOT and e["event_id"] not in self.old]
        return sorted(own, key=lambda event: event["origin_server_ts"])

    def hears(self, title: str, text: str) -> dict[str, Any]:
        """A message of the bot with that text that was not heard before."""

        def look() -> dict[str, Any] | None:
            for event in self.said(title):
                heard = (event["event_id"], text)
                if text in event["content"].get("body", "") and heard not in self.heard:
                    self.heard.add(heard)
                    return event
            return None

        found: dict[str, Any] = self.wait_for(look, f"{text!r} in the {title}")
        return found

    def send(self, who: str, title: str, kind: str, content: dict[str, Any]) -> Any:
        path = f"/_matrix/client/v3/rooms/{self.ids[title]}/send/{kind}/{uuid4().hex}"
        return self.homeserver.request("PUT", path, self.tokens[who], content)

    def say(self, who: str, title: str, text: str) -> Any:
        return self.send(who, title, "m.room.message", {"msgtype": "m.text", "body": text})

    def react(self, who: str, title: str, event_id: str, key: str) -> Any:
        relation = {"rel_type": "m.annotation", "event_id": event_id, "key": key}
        return self.send(who, title, "m.reaction", {"m.relates_to": relation})


@pytest.fixture(scope="module")
def tokens(homeserver: Any) -> dict[str, str]:
    return {name: homeserver.create_user(name) for name in ("alice", "carol", "vera")}


@pytest.fixture
def people(homeserver: Any, control: Any, wait_for: Any, tokens: dict[str, str]) -> People:
    control.config |= {
        "approvers": ["@carol:agency.example"],
        "viewers": ["@vera:agency.example"],
        "approvals": GATED,
        "rooms": {"approvals": True, "audit": True},
    }
    return People(homeserver, control, wait_for, tokens)


def test_the_page_is_followed_step_by_step(people: People) -> None:
    people.start()
    prompt: dict[str, Any] = {}
    rows = steps()
    assert len(rows) >= 10
    for who, where, does, then in rows:
        text, expected = _CODE.search(does), _CODE.search(then)
        assert expected is not None
        if does.startswith("cannot say"):
            assert text is not None
            refused = people.say(who, where, text[1])
            assert refused.json()["errcode"] == expected[1], refused.text
            continue
        if does.startswith("says"):
            assert text is not None
            short = prompt["content"]["body"].split()[1][:9] if prompt else ""
            assert people.say(who, where, text[1].replace("OPERATION", short)).ok
        elif does.startswith("reacts with"):
            assert people.react(who, where, prompt["event_id"], does.split()[-1]).ok
        else:
            assert does == "reads"
        heard = people.hears(then.partition("is said in the ")[2], expected[1])
        if " asks: " in expected[1]:
            prompt = heard
    assert people.control.verify() == 0


def test_a_stranger_and_a_viewer_decide_nothing_in_the_approvals_room(
    people: People, homeserver: Any
) -> None:
    people.start()
    eve = homeserver.create_user("eve")
    people.tokens |= {"eve": eve}
    path = f"/_matrix/client/v3/rooms/{people.ids['approvals room']}/invite"
    for name in ("eve", "vera"):
        asked = {"user_id": f"@{name}:agency.example"}
        assert homeserver.request("POST", path, people.tokens["alice"], asked).ok
        people.enter(name, people.ids["approvals room"])
    people.say("alice", "control room", "!agency agents start pm")
    people.hears("control room", "pm runs")
    people.say("alice", "control room", "!agency agents stop pm")
    prompt = people.hears("approvals room", "asks: !agency agents stop pm")
    short = prompt["content"]["body"].split()[1][:9]
    for name in ("eve", "vera"):
        assert people.react(name, "approvals room", prompt["event_id"], "✅").ok
    people.say("eve", "approvals room", f"approve {short}")
    people.hears("approvals room", "is not an operator")
    people.say("vera", "approvals room", f"approve {short}")
    people.hears("approvals room", "takes the role approver")
    people.say("alice", "approvals room", f"approve {short}")
    people.hears("approvals room", "who asked for it")
    people.say("alice", "control room", "!agency approvals list")
    people.hears("control room", "One operation waits")
    people.react("carol", "approvals room", prompt["event_id"], "✅")  # the positive control
    people.hears("control room", "pm is stopped")


def test_what_is_asked_past_the_room_is_asked_of_people_there(people: People) -> None:
    people.start()
    people.say("alice", "control room", "!agency agents start pm")
    people.hears("control room", "pm runs")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(command, socket_of(people.control), "agents", "stop", "pm")
        prompt = people.hears("approvals room", "asks: !agency agents stop pm")
        assert not [
            event for event in people.said("control room") if "asks:" in event["content"]["body"]
        ]
        people.react("carol", "approvals room", prompt["event_id"], "👍")
        status, answer = asked.result(timeout=30)
    assert (status, answer["outcome"]) == (0, "done"), answer


def test_lost_rooms_are_conditions_and_stop_nothing(
    people: People, admin: Any, codes: Callable[[], list[str]]
) -> None:
    people.start()
    for title in ("approvals room", "audit room"):
        room = people.ids[title]
        admin.call("POST", f"rooms/{room}/leave", {})
    people.wait_for(lambda: {"approvals-room", "audit-room"} <= set(codes()), "both conditions", 30)
    answer = people.control.ready()
    assert answer.status_code == 200, answer.text
    assert {each["code"] for each in answer.json()["warnings"]} >= {"approvals-room", "audit-room"}
    people.say("alice", "control room", "!agency agents start pm")
    people.hears("control room", "pm runs")
    people.say("alice", "control room", "!agency agents stop pm")
    prompt = people.hears("control room", "asks: !agency agents stop pm")
    people.react("carol", "control room", prompt["event_id"], "✅")
    people.hears("control room", "pm is stopped")
    given_up = [row for row in people.control.audit() if row["action"] == "reply"]
    assert len(given_up) <= 1, "a refused line of the audit room is told again for ever"

    for title in ("approvals room", "audit room"):  # an operator invites the bot back
        admin.invite(people.ids[title], BOT, token=people.tokens["alice"])
    people.wait_for(lambda: not people.control.ready().json()["warnings"], "the rooms mended", 30)
    people.hears("audit room", "!agency agents stop pm: done")


@pytest.mark.thorough
def test_the_rooms_are_the_same_after_kill_9(people: People) -> None:
    people.start()
    before = dict(people.ids)
    people.say("alice", "control room", "!agency agents start pm")
    people.hears("audit room", "!agency agents start pm: done")
    lines = [event["content"]["body"] for event in people.said("audit room")]
    people.control.stop(signal.SIGKILL)
    people.start()
    assert people.ids == before
    people.say("alice", "control room", "!agency ping")
    people.hears("audit room", "!agency ping: done")
    told = [
        line
        for event in people.said("audit room")
        for line in event["content"]["body"].splitlines()
    ]
    assert len(told) == len(set(told)), "a row was told twice"
    assert len(told) > len(lines)
