"""A token that a person puts on record by a line in the real room, and uses by HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from http_api import ALICE, Client, url_of

from agency import ports


def test_a_line_in_the_room_is_enough_and_the_token_is_in_no_message(
    homeserver: Any, control: Any, alice: str, room_class: Any, tmp_path: Path
) -> None:
    free = ports.assign(("api",), {})
    control.config |= {"api": {"listen_port": free["api"]}}
    room_id = control.start()["room"]["id"]
    homeserver.request("POST", f"/_matrix/client/v3/join/{room_id}", alice, {}).raise_for_status()
    room = room_class(homeserver, room_id, alice)
    file = tmp_path / "token"
    argv = [sys.executable, "-m", "agency", "tokens", "create", "--json", "--say"]
    made = subprocess.run(
        [*argv, "--role=operator", f"--output={file}"], capture_output=True, check=True
    )
    line = json.loads(made.stdout)["text"].removeprefix("Say in the control room: ")
    token = file.read_text().strip()
    client = Client(url_of(control), token)
    assert client.get("/who").status_code == 401, "it is not on record yet"
    assert "as operator" in room.ask(line)["body"]
    assert client.get("/who").json()["person"] == ALICE
    assert client.give("agents start pm", "one", wait_s=25).json()["state"] == "done"
    # For another person only who administers the machine makes one.
    other = f"!agency tokens create sha256:{'b' * 64} --person=@bob:agency.example"
    assert "may make a token of @bob:agency.example" in room.ask(other)["body"]
    exported = room.ask("!agency audit export")
    assert "GET /api/v1/audit/export" in exported["body"]
    assert "The audit log is whole" in room.ask("!agency audit verify")["body"]
    everything = json.dumps(homeserver.messages(alice, room_id))
    assert token not in everything
    assert line.split()[3] in everything, "positive control"
