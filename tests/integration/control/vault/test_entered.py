"""Values that come in at a running control plane beside a real Synapse, and where they are not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from entry_page import enter, link_in
from vault_places import CANARY, by_stdin, leaks

TOKEN = "gl" + "pat-" + "aB3_" * 6
REPLY_KEY = "org.agency.reply"


def test_a_link_in_the_room_takes_a_value_once_and_the_room_hears_of_it(
    control: Any, room: Any, wait_for: Callable[..., Any]
) -> None:
    said = room.ask("!agency secrets set github --type=api-key")
    link = link_in(said["body"])
    room.ask("!agency safe-mode on")
    assert enter(link, CANARY).status_code == 503
    room.ask("!agency safe-mode off")
    first, again = enter(link, CANARY), requests.get(link, timeout=10)
    assert (first.status_code, again.status_code) == (200, 404)
    assert "no-store" in first.headers["Cache-Control"]

    def told() -> bool:
        bodies = [e["content"].get("body", "") for e in room.homeserver.messages(*seen(room))]
        return any("github has version 1 now: a value was entered" in body for body in bodies)

    wait_for(told, "notice of the value")
    assert "api-key" in room.ask("!agency secrets info github")["body"]
    rows = [row for row in control.audit() if row["action"].startswith("secrets")]
    assert [(row["actor"], row["action"], row["outcome"]) for row in rows][:3] == [
        ("@alice:agency.example", "secrets set", "accepted"),
        ("@alice:agency.example", "secrets set", "done"),
        ("link", "secrets enter", "done"),
    ]
    token = link.rsplit("/", 1)[1]
    # The link was said in the room: only its own reply, and the room, have it.
    assert token in said["body"]
    assert token.encode() not in control.log.read_bytes()
    assert leaks(control, CANARY) == []
    assert control.verify() == 0


def seen(room: Any) -> tuple[str, str]:
    return room.token, room.room_id


def test_a_value_on_standard_input_is_nowhere_but_in_the_vault(control: Any, room: Any) -> None:
    answer = by_stdin(control, "secrets", "set", "gitlab")
    assert (answer["outcome"], answer["reply"]["text"]) == ("done", "gitlab has version 1 now.")
    answer = by_stdin(control, "secrets", "rotate", "gitlab", value=f"{CANARY}-2")
    assert answer["reply"]["text"] == "gitlab has version 2 now."
    wrong = by_stdin(control, "secrets", "set", "broken", "--type=json", value=f"{CANARY}-3")
    assert wrong["outcome"] == "refused"
    assert "2" in room.ask("!agency secrets info gitlab")["body"]
    assert leaks(control, CANARY) == []
    # The search finds what is there.
    assert leaks(control, "gitlab has version 1 now") != []


def test_a_token_in_the_room_is_taken_out_of_it(
    control: Any, room: Any, homeserver: Any, wait_for: Callable[..., Any]
) -> None:
    event = room.say(f"here it is: {TOKEN}")
    reply = room.reply(event)["content"]
    assert reply[REPLY_KEY]["ok"] is False, reply["body"]
    assert "This message held a GitLab token" in reply["body"]
    assert "I deleted the message" in reply["body"]
    path = f"/_matrix/client/v3/rooms/{room.room_id}/event/{event}"
    assert homeserver.request("GET", path, room.token).json()["content"] == {}
    assert leaks(control, TOKEN) == []
    # Another message beside it stays.
    other = room.say("here is a digest: " + "0123456789abcdef" * 4)
    path = f"/_matrix/client/v3/rooms/{room.room_id}/event/{other}"
    assert homeserver.request("GET", path, room.token).json()["content"] != {}


def test_killed_after_the_value_came_in_it_is_there(control: Any, room: Any) -> None:
    """Kill -9 right after the answer, and between the link and the value."""
    assert by_stdin(control, "secrets", "set", "github")["outcome"] == "done"
    link = link_in(room.ask("!agency secrets set gitlab")["body"])
    control.stop(9)
    control.start()
    assert enter(link, CANARY).status_code == 200
    said = room.ask("!agency secrets list")["body"]
    assert "2 secrets" in said
    assert leaks(control, CANARY) == []


@pytest.mark.parametrize(
    "broken",
    [
        "UPDATE secrets SET version = 9",
        pytest.param("DELETE FROM secrets", marks=pytest.mark.thorough),
    ],
)
def test_a_register_that_was_tampered_with_is_said_and_used_no_more(
    control: Any, room: Any, broken: str, wait_for: Callable[..., Any]
) -> None:
    import sqlite3

    by_stdin(control, "secrets", "set", "github")
    control.stop()
    with sqlite3.connect(control.database) as connection:
        connection.execute(broken)
    control.start()
    assert "changed outside the control plane" in room.ask("!agency secrets list")["body"]
    assert by_stdin(control, "secrets", "set", "another")["outcome"] == "failed"
    warnings = wait_for(lambda: control.ready().json()["warnings"], "warning")
    assert "vault-unusable" in json.dumps(warnings)
    # Everything else goes on.
    assert "0 of 2 agents run" in room.ask("!list-agents")["body"]


def test_without_a_master_key_there_is_no_vault(
    homeserver: Any, make_control: Callable[..., Any], tmp_path: Path, room_class: Any
) -> None:
    credentials = tmp_path / "fewer"
    credentials.mkdir()
    for name in ("matrix-as-token", "matrix-hs-token"):
        (credentials / name).write_text((homeserver.credentials / name).read_text())
    control = make_control(
        credentials, homeserver_url=homeserver.url, listen_port=homeserver.appservice_port
    )
    control.start()
    answer = by_stdin(control, "secrets", "set", "github")
    assert answer["outcome"] == "refused"
    assert "no vault" in answer["reply"]["text"]
    assert requests.get(f"{control.url}/secrets/enter/x", timeout=10).status_code == 404
    control.stop()


@pytest.mark.parametrize(
    "broken", ["short", *(pytest.param(each, marks=pytest.mark.thorough) for each in ("", "a b"))]
)
def test_a_broken_master_key_ends_the_start(
    homeserver: Any, make_control: Callable[..., Any], tmp_path: Path, broken: str
) -> None:
    credentials = tmp_path / "broken"
    credentials.mkdir()
    for name in ("matrix-as-token", "matrix-hs-token"):
        (credentials / name).write_text((homeserver.credentials / name).read_text())
    (credentials / "vault-master-key").write_text(broken)
    control = make_control(credentials, homeserver_url=homeserver.url)
    assert control.launch().wait(30) == 3
    assert "vault-master-key" in control.log.read_text()


@pytest.mark.parametrize("value", [b"", b"\n", b"\xff\xfe-canary", b"x" * 20_000])
def test_what_is_no_value_is_not_even_sent(value: bytes) -> None:
    argv = [sys.executable, "-m", "agency", "command", "--json", "--value-stdin"]
    done = subprocess.run(
        [*argv, "secrets", "set", "x"], input=value, capture_output=True, check=False
    )
    assert done.returncode == 2
    assert b"standard input" in done.stderr
    assert b"canary" not in done.stdout + done.stderr
    assert b"Traceback" not in done.stderr
