"""Approvals in a real room of a real Synapse, with real agents, through kill -9."""

from __future__ import annotations

import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from entering import command, socket_of

REPLY_KEY = "org.agency.reply"
GATED = {"rules": [{"name": "stops", "commands": ["agents stop"], "quorum": 1}]}


class Team:
    """Alice and Bob, operators; Carol, who approves; and Vera, who looks."""

    def __init__(self, homeserver: Any, control: Any, room_class: Any, wait_for: Any) -> None:
        self.homeserver, self.control, self.wait_for = homeserver, control, wait_for
        control.start()
        self.room_id = control.ready().json()["room"]["id"]
        self.rooms = {name: self._enter(name, room_class) for name in NAMES}

    def _enter(self, name: str, room_class: Any) -> Any:
        if name not in TOKENS:
            TOKENS[name] = self.homeserver.create_user(name)
        token = TOKENS[name]
        path = f"/_matrix/client/v3/join/{self.room_id}"
        entered = self.homeserver.request("POST", path, token, {})
        assert entered.status_code == 200, f"{name} was not invited: {entered.text}"
        return room_class(self.homeserver, self.room_id, token)

    def asked(self, text: str, by: str = "alice") -> tuple[str, dict[str, Any]]:
        """Ask for a command that needs an approval; its event id, and the prompt."""
        event = self.rooms[by].say(text)
        return event, self.rooms[by].reply(event)

    def react(self, by: str, to: str, key: str) -> None:
        relation = {"rel_type": "m.annotation", "event_id": to, "key": key}
        path = f"/_matrix/client/v3/rooms/{self.room_id}/send/m.reaction/r{by}{abs(hash(to))}"
        sent = self.homeserver.request(
            "PUT", path, self.rooms[by].token, {"m.relates_to": relation}
        )
        assert sent.status_code == 200, sent.text

    def final(self, event: str, by: str = "alice") -> str:
        """The last answer to a command."""

        def look() -> str | None:
            for each in self.rooms[by].replies(event):
                if each["content"][REPLY_KEY]["final"]:
                    return str(each["content"]["body"])
            return None

        return str(self.wait_for(look, f"final reply to {event}"))


NAMES = ("alice", "bob", "carol", "vera")
TOKENS: dict[str, str] = {}


@pytest.fixture
def team(
    homeserver: Any,
    control: Any,
    room_class: Any,
    wait_for: Callable[..., Any],
) -> Team:
    control.config |= {
        "operators": ["@alice:agency.example", "@bob:agency.example"],
        "approvers": ["@carol:agency.example"],
        "viewers": ["@vera:agency.example"],
        "approvals": GATED,
    }
    return Team(homeserver, control, room_class, wait_for)


def test_a_stop_waits_for_another_person_and_no_other_way_leads_to_it(team: Team) -> None:
    alice, bob, carol, vera = (team.rooms[name] for name in NAMES)
    assert "pm runs" in alice.ask("!agency agents start pm --project=site")["body"]
    event, prompt = team.asked("!agency agents stop pm")
    op = prompt["content"]["body"].split()[1][:9]
    assert (
        "pm is to run, with the project site now; after it pm is to be stopped."
        in (prompt["content"]["body"])
    )
    assert "who asked for it" in alice.ask(f"approve {op}")["body"]
    assert "takes the role approver" in vera.ask(f"approve {op}")["body"]
    assert "takes the role operator" in carol.ask("!agency agents stop pm")["body"]
    # A prompt that somebody else writes is none.
    forged = bob.say(prompt["content"]["body"])
    team.react("carol", forged, "✅")
    assert "1 of 2 agents run." in bob.ask("!list-agents")["body"]
    assert op in vera.ask("!agency approvals list")["body"]

    team.react("carol", prompt["event_id"], "✅")
    assert team.final(event) == "pm is stopped."
    rows = [
        (row["actor"], row["outcome"])
        for row in team.control.audit()
        if row["action"] == "agents stop" and row["target"] == "pm"
    ]
    assert rows == [
        ("@alice:agency.example", "waiting"),
        ("@carol:agency.example", "refused"),
        ("@carol:agency.example", "granted"),
        ("@alice:agency.example", "accepted"),
        ("@alice:agency.example", "done"),
    ]
    assert team.control.verify() == 0


def test_what_waits_survives_kill_9_and_is_denied_with_a_reason(team: Team) -> None:
    alice, bob = team.rooms["alice"], team.rooms["bob"]
    assert "pm runs" in alice.ask("!agency agents start pm --project=site")["body"]
    event, prompt = team.asked("!agency agents stop pm")
    op = prompt["content"]["body"].split()[1][:9]
    team.control.stop(signal.SIGKILL)
    team.control.start()
    assert op in bob.ask("!agency approvals list")["body"]
    denied = bob.ask(f'deny {op} reason="the release runs"')
    assert denied[REPLY_KEY]["ok"] is True, denied["body"]
    assert team.final(event) == (
        "@bob:agency.example denied this, so it was not run: the release runs"
    )
    assert "1 of 2 agents run." in bob.ask("!list-agents")["body"]
    assert "waits for an approval" in bob.ask(f"approve {op}")["body"]


def test_killed_right_after_the_approval_it_runs_once(team: Team) -> None:
    alice, bob = team.rooms["alice"], team.rooms["bob"]
    assert "pm runs" in alice.ask("!agency agents start pm --project=site")["body"]
    event, prompt = team.asked("!agency agents stop pm")
    op = prompt["content"]["body"].split()[1][:9]
    bob.say(f"approve {op}")
    team.wait_for(
        lambda: team.control.query("SELECT 1 FROM grants"), "a grant in the store", seconds=20
    )
    team.control.stop(signal.SIGKILL)
    team.control.start()
    # Where pm ended together with the control plane, there is nothing to stop any more.
    assert any(said in team.final(event) for said in ("stopped", "was not running"))
    people = [row for row in team.control.audit() if row["actor"].startswith("@")]
    rows = [row["outcome"] for row in people if row["action"] == "agents stop"]
    assert rows.count("granted") == 1
    assert rows.count("accepted") == 1
    assert "0 of 2 agents run." in bob.ask("!list-agents")["body"]


def test_safe_mode_survives_kill_9_and_an_admin_leaves_it(team: Team) -> None:
    alice, bob = team.rooms["alice"], team.rooms["bob"]
    assert "Safe mode is on" in bob.ask("!agency safe-mode on")["body"]
    team.control.stop(signal.SIGKILL)
    team.control.start()
    refused = alice.ask("!agency agents start pm")["body"]
    assert "@bob:agency.example switched to safe mode" in refused
    status = alice.ask("!agency status")["body"]
    assert "on, by @bob:agency.example" in status
    assert "2 stopped" in status
    assert "takes the role admin" in bob.ask("!agency safe-mode off")["body"]
    assert "Safe mode is off" in alice.ask("!agency safe-mode off")["body"]
    assert "pm runs" in alice.ask("!agency agents start pm")["body"]


def test_what_is_disabled_stays_so_through_kill_9(team: Team) -> None:
    alice, bob = team.rooms["alice"], team.rooms["bob"]
    assert "pm runs" in alice.ask("!agency agents start pm --project=site")["body"]
    assert "pm is stopped and disabled" in alice.ask("!agency agents disable pm")["body"]
    team.control.stop(signal.SIGKILL)
    team.control.start()
    for verb in ("start", "restart"):
        refused = bob.ask(f"!agency agents {verb} pm")
        assert refused[REPLY_KEY]["ok"] is False, refused["body"]
        assert "agents enable pm" in refused["body"]
    assert "0 of 2 agents run." in bob.ask("!list-agents")["body"]
    assert "disabled" in bob.ask("!agency agents show pm")["body"]
    assert "pm is enabled" in bob.ask("!agency agents enable pm")["body"]
    assert "pm runs" in bob.ask("!agency agents start pm")["body"]


def test_root_asks_on_the_machine_and_the_room_decides(team: Team) -> None:
    alice = team.rooms["alice"]
    assert "pm runs" in alice.ask("!agency agents start pm --project=site")["body"]
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(command, socket_of(team.control), "agents", "stop", "pm")
        prompt = team.wait_for(lambda: prompts(team, "cli:"), "a prompt in the room")[0]
        assert "1 of 2 agents run." in alice.ask("!list-agents")["body"]
        team.react("carol", prompt["event_id"], "✅")
        status, answer = asked.result(timeout=30)
    assert (status, answer["outcome"]) == (0, "done"), answer
    assert "0 of 2 agents run." in alice.ask("!list-agents")["body"]


def prompts(team: Team, actor: str) -> list[dict[str, Any]]:
    """The messages that ask for an approval of what this actor asked."""
    said = team.homeserver.messages(TOKENS["alice"], team.room_id)
    return [
        event
        for event in said
        if event["sender"] == "@agency:agency.example"
        and f"\n{actor}" in event["content"].get("body", "")
        and "asks: !agency agents stop pm" in event["content"]["body"]
    ]
