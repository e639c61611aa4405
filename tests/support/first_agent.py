"""The walk of docs/first-agent.md, made ready."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from walking import Walk, steps

PAGE = Path(__file__).resolve().parents[2] / "docs" / "first-agent.md"
WALK = steps(PAGE)
VALUE = "canary-91c4e7-entered-at-the-page"
LIMITS = {
    "reconcile_interval_s": 0.5,
    "respawn_wait_s": 0.5,
    "secret_check_s": 0.3,
    "agent_start_timeout_s": 30,
}


def make_walk(
    homeserver: Any, control: Any, wait_for: Callable[..., Any], kill: Callable[[str], None]
) -> Walk:
    """Start an agency with two operators, and let both enter its room."""
    control.config["operators"] = ["@alice:agency.example", "@bob:agency.example"]
    control.config["limits"] = LIMITS
    control.start()
    room_id = control.ready().json()["room"]["id"]
    tokens = {name: str(homeserver.create_user(name)) for name in ("alice", "bob")}
    for token in tokens.values():
        path = f"/_matrix/client/v3/join/{room_id}"
        homeserver.request("POST", path, token, {}).raise_for_status()
    return Walk(homeserver, control, wait_for, tokens, room_id, kill, VALUE)
