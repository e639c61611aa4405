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
    homeserver: Any,
    control: Any,
    wait_for: Callable[..., Any],
    kill: Callable[[str], None],
    tokens: dict[str, str],
) -> Walk:
    """Start an agency with two operators, and let both enter its room.

    `tokens` are those of the people whom the homeserver has; it has both afterwards.
    """
    control.config["operators"] = ["@alice:agency.example", "@bob:agency.example"]
    control.config["limits"] = LIMITS
    control.start()
    room_id = control.ready().json()["room"]["id"]
    for name in ("alice", "bob"):
        if name not in tokens:
            tokens[name] = str(homeserver.create_user(name))
        path = f"/_matrix/client/v3/join/{room_id}"
        homeserver.request("POST", path, tokens[name], {}).raise_for_status()
    return Walk(homeserver, control, wait_for, tokens, room_id, kill, VALUE)
