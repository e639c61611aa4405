"""The log of a real control plane: who asked for what under which trace, and no secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import requests

SEAMS = {
    "admitted",
    "an operation begins",
    "called a runtime",
    "called an agent",
    "settled",
    "sent",
}


def lines(control: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in control.log.read_text().splitlines()]


def tokens(control: Any, homeserver: Any) -> dict[str, str]:
    """Every secret that there is: of the homeserver, and those that agents got."""
    state = Path(control.config["state_dir"])
    files = [file for file in state.rglob("*token*") if file.is_file()]
    found = {file.name: file.read_text().strip() for file in files}
    return {"as": homeserver.as_token, "hs": homeserver.hs_token, **found}


@pytest.fixture
def debugging(control: Any) -> Any:
    control.config["log_level"] = "debug"
    return control


def test_at_debug_each_seam_says_who_and_why_and_no_secret(
    debugging: Any, room: Any, homeserver: Any, wait_for: Any
) -> None:
    answer = room.ask("!agency agents start pm --project=site")
    trace = answer["org.agency.reply"]["trace"]
    secrets = tokens(debugging, homeserver)
    assert len(secrets) >= 3, "there is no token of an agent"
    for secret in secrets.values():
        room.ask(f"!agency agents start pm --project={secret}")
        room.ask(f"!agency agents {secret}")

    def told() -> list[dict[str, Any]] | None:
        own = [line for line in lines(debugging) if line.get("trace") == trace]
        return own if {line["message"] for line in own} >= SEAMS else None

    own = wait_for(told, f"all of {SEAMS} in the log")
    for line in own:
        if line["message"] in SEAMS - {"sent"}:
            assert line["actor"] == "@alice:agency.example", line
            assert line["action"] == "agents start", line
    assert any(line["message"] == "took a transaction" for line in lines(debugging))
    whole = debugging.log.read_text()
    assert [name for name, secret in secrets.items() if secret in whole] == []


def test_at_info_there_are_no_debug_lines(control: Any, room: Any) -> None:
    room.ask("!agency ping")
    levels = {line["level"] for line in lines(control)}
    assert "info" in levels
    assert "debug" not in levels


def test_live_answers_while_it_is_not_ready(
    make_control: Any, homeserver: Any, wait_for: Any
) -> None:
    """A homeserver that is away is no reason to start the process again."""
    control = make_control(homeserver.credentials)  # its homeserver's port is closed
    process = control.launch()
    try:
        wait_for(control.accepts, "a listening control plane")
        live = requests.get(f"{control.url}/live", timeout=5)
        ready = requests.get(f"{control.url}/ready", timeout=5)
        assert (live.status_code, live.json()) == (200, {"live": True})
        assert ready.status_code == 503
    finally:
        process.kill()
        process.wait()


def test_operations_are_counted_by_noun_and_state(control: Any, room: Any) -> None:
    for said in ("!agency ping", "!agency agents start pm", "!agency agents stop nobody"):
        room.ask(said)
    text = requests.get(f"{control.url}/metrics", timeout=5).text.splitlines()
    for line in (
        'agency_control_operations_total{noun="ping",state="done"} 1.0',
        'agency_control_operations_total{noun="agents",state="done"} 1.0',
        "agency_control_approvals_waiting 0.0",
        "agency_control_database_writable 1.0",
    ):
        assert line in text
    (took,) = [line for line in text if line.startswith("agency_control_database_seconds ")]
    assert 0 < float(took.split()[1]) < 5
