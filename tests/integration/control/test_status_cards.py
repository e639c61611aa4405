"""Status cards on a real Synapse, as somebody with Element sees them, through kill -9."""

from __future__ import annotations

import os
import signal
from typing import Any
from urllib.parse import quote

import pytest

REPLY_KEY = "org.agency.reply"
HANGS_S = 4


class Thread:
    """The thread of one command, as its author sees it."""

    def __init__(self, room: Any, wait_for: Any, command: str) -> None:
        self.room, self.wait_for, self.command = room, wait_for, command

    def events(self) -> list[dict[str, Any]]:
        return [
            event
            for event in self.room.homeserver.messages(self.room.token, self.room.room_id)
            if event["content"].get(REPLY_KEY, {}).get("command") == self.command
        ]

    def cards(self) -> list[dict[str, Any]]:
        """The cards, without their edits."""
        found = [each for each in self.events() if "card" in each["content"][REPLY_KEY]]
        return [each for each in found if "m.new_content" not in each["content"]]

    def edits(self) -> list[dict[str, Any]]:
        return [each for each in self.events() if "m.new_content" in each["content"]]

    def card(self) -> dict[str, Any]:
        return dict(self.wait_for(self.cards, "card")[0])

    def final(self) -> str:
        def look() -> str | None:
            for each in self.events():
                if each["content"][REPLY_KEY]["final"]:
                    return str(each["content"]["body"])
            return None

        return str(self.wait_for(look, "final reply", 30))

    def shown(self, event_id: str) -> list[str]:
        """The text that a client shows in place of an event: that of the homeserver's last edit."""
        path = f"/_matrix/client/v3/rooms/{self.room.room_id}/event/{quote(event_id)}"
        event = self.room.homeserver.request("GET", path, self.room.token).json()
        edit = event["unsigned"]["m.relations"]["m.replace"]
        return str(edit["content"]["m.new_content"]["body"]).split("\n")


@pytest.fixture
def hanging(control: Any, room: Any, wait_for: Any) -> Thread:
    """The thread of a restart that takes a while: the agent does not react to being stopped."""
    assert "pm runs" in room.ask("!agency agents start pm")["body"]
    os.kill(control.pid_of("pm"), signal.SIGSTOP)
    return Thread(room, wait_for, room.say("!agency agents restart pm"))


@pytest.fixture(autouse=True)
def _paced(control: Any) -> None:
    control.config["limits"] |= {
        "agent_stop_timeout_s": HANGS_S,
        "status_card_after_s": 0.1,
        "status_card_edits_per_minute": 60,
    }


def test_a_card_is_posted_in_the_thread_and_edited_to_its_end(hanging: Thread) -> None:
    card = hanging.card()
    assert card["content"]["m.relates_to"]["rel_type"] == "m.thread"
    assert card["content"]["m.relates_to"]["event_id"] == hanging.command
    assert card["content"]["body"].split("\n") == [
        "!agency agents restart pm: runs",
        "• stopping its process, and starting it again",
    ]
    assert hanging.final().startswith("pm runs")
    assert len(hanging.cards()) == 1
    shown = hanging.shown(card["event_id"])
    assert shown[0] == "!agency agents restart pm: done"
    assert shown[-1] == "• it answers, and works on what it was given"
    for edit in hanging.edits():
        assert edit["content"]["body"].startswith("* !agency agents restart pm: ")
        assert edit["content"]["m.relates_to"]["rel_type"] == "m.replace"
        assert edit["content"]["m.relates_to"]["event_id"] == card["event_id"]


def test_after_kill_9_the_same_card_is_edited_on(control: Any, hanging: Thread) -> None:
    card = hanging.card()
    control.stop(signal.SIGKILL)
    control.start()
    assert "The control plane ended" in hanging.final()
    assert [each["event_id"] for each in hanging.cards()] == [card["event_id"]], "no second card"
    shown = hanging.shown(card["event_id"])
    assert shown[0] == "!agency agents restart pm: interrupted, because the control plane ended"
    assert shown[1] == "• stopping its process, and starting it again"
    assert control.verify() == 0


def test_who_deletes_the_command_ends_the_edits_of_its_card(hanging: Thread) -> None:
    card, room = hanging.card(), hanging.room
    path = f"/_matrix/client/v3/rooms/{room.room_id}/redact/{quote(hanging.command)}/gone"
    room.homeserver.request("PUT", path, room.token, {}).raise_for_status()
    assert hanging.final().startswith("pm runs")
    assert hanging.edits() == []
    assert [each["event_id"] for each in hanging.cards()] == [card["event_id"]]
