"""Agents that a command makes, beside a real Synapse: account, life, end, through kill -9."""

from __future__ import annotations

import signal
from typing import Any
from urllib.parse import quote

import pytest

HELPER = "@agent-helper:agency.example"
PM = "@agent-pm:agency.example"
TOKENS: dict[str, str] = {}


class Agency:
    """Alice and Bob, operators, in the control room."""

    def __init__(self, homeserver: Any, control: Any, room_class: Any, wait_for: Any) -> None:
        self.homeserver, self.control, self.wait_for = homeserver, control, wait_for
        control.start()
        self.room_id = control.ready().json()["room"]["id"]
        self.rooms = {name: self._enter(name, room_class) for name in ("alice", "bob")}

    def _enter(self, name: str, room_class: Any) -> Any:
        if name not in TOKENS:
            TOKENS[name] = self.homeserver.create_user(name)
        path = f"/_matrix/client/v3/join/{self.room_id}"
        self.homeserver.request("POST", path, TOKENS[name], {}).raise_for_status()
        return room_class(self.homeserver, self.room_id, TOKENS[name])

    def ask(self, text: str, by: str = "alice") -> str:
        return str(self.rooms[by].ask(text)["body"])

    def membership(self, user: str) -> str:
        path = f"/_matrix/client/v3/rooms/{self.room_id}/state/m.room.member/{quote(user)}"
        answer = self.homeserver.request("GET", path, TOKENS["alice"])
        return str(answer.json().get("membership", "none"))

    def decided(self, text: str, word: str = "approve", why: str = "") -> str:
        """Alice asks for what needs an approval, and Bob gives it; the last reply."""
        event = self.rooms["alice"].say(text)
        prompt = self.rooms["alice"].reply(event)["content"]["body"]
        self.ask(f"{word} {prompt.split()[1][:9]}{why}", "bob")

        def look() -> str | None:
            for each in self.rooms["alice"].replies(event):
                if each["content"]["org.agency.reply"]["final"]:
                    return str(each["content"]["body"])
            return None

        return str(self.wait_for(look, "final reply"))


@pytest.fixture
def agency(homeserver: Any, control: Any, room_class: Any, wait_for: Any) -> Agency:
    control.config["operators"] = ["@alice:agency.example", "@bob:agency.example"]
    return Agency(homeserver, control, room_class, wait_for)


def test_an_agent_is_made_lives_through_kill_9_and_is_deleted(agency: Agency) -> None:
    control, wait_for = agency.control, agency.wait_for
    made = agency.ask("!agency agents create helper --template=developer")
    assert made.startswith("helper is made from the template developer, and does not run yet.")
    assert "0 of 3 agents run." in agency.ask("!agency agents list")
    document = agency.ask("!agency gosuto show helper")
    assert "version 1" in document
    assert "@alice:agency.example" in document
    wait_for(lambda: agency.membership(HELPER) == "join", "account in the room")
    assert "here is an agent helper already" in agency.ask(
        "!agency agents create helper --template=developer"
    )
    assert "here is an agent pm already" in agency.ask(
        "!agency agents create pm --template=developer"
    )
    assert "helper runs, with the project site" in agency.ask(
        "!agency agents start helper --project=site"
    )
    assert "developer" in agency.ask("!agency agents show helper")
    control.stop(signal.SIGKILL)
    control.start()
    wait_for(lambda: "helper: running" in agency.ask("!agency agents status helper"), "agent")
    assert "site" in agency.ask("!agency agents status helper")

    assert agency.ask("!agency agents cancel helper") == "helper has no running task."
    assert HELPER in agency.ask("!agency agents matrix-register helper")
    path = f"/_matrix/client/v3/profile/{quote(HELPER)}/displayname"
    named = agency.homeserver.request("GET", path, TOKENS["alice"])
    assert named.json()["displayname"] == "helper"

    denied = agency.decided("!agency agents delete helper", "deny", " not today")
    assert "denied this" in denied
    assert "1 of 3 agents run." in agency.ask("!agency agents list")
    deleted = agency.decided("!agency agents delete helper")
    assert deleted.startswith("helper is deleted. Its audit log and its record stay.")
    assert agency.membership(HELPER) == "leave"
    assert "0 of 2 agents run." in agency.ask("!agency agents list")
    assert "here is no agent helper" in agency.ask("!agency agents start helper")
    control.stop(signal.SIGKILL)
    control.start()
    assert "0 of 2 agents run." in agency.ask("!agency agents list")
    assert any(row["target"] == "helper" for row in control.audit())
    assert agency.membership(HELPER) == "leave", "and nothing brings it back"
    assert agency.ask("!agency agents create helper --template=developer").startswith(
        "helper is made"
    )
    assert control.verify() == 0


def test_what_is_declared_is_not_deleted_by_a_command(agency: Agency) -> None:
    assert "pm runs" in agency.ask("!agency agents start pm")
    refused = agency.decided("!agency agents delete pm")
    assert "instance.yaml" in refused
    assert "1 of 2 agents run." in agency.ask("!agency agents list")


def test_a_disabled_agent_leaves_its_rooms_and_comes_back_when_enabled(agency: Agency) -> None:
    control, wait_for = agency.control, agency.wait_for
    wait_for(lambda: agency.membership(PM) == "join", "account in the room")
    assert "left its room" in agency.ask("!agency agents disable pm")
    assert agency.membership(PM) == "leave"
    assert "enable it first" in agency.ask("!agency agents matrix-register pm")
    control.stop(signal.SIGKILL)
    control.start()
    agency.ask("!agency ping")
    assert agency.membership(PM) == "leave", "the start brings no disabled agent in"
    assert "pm is enabled" in agency.ask("!agency agents enable pm")
    wait_for(lambda: agency.membership(PM) == "join", "account in the room again")
