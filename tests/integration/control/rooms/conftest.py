"""Control rooms of a chosen version, and what people and administrators do to them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest

BOT = "@agency:agency.example"
ALICE = "@alice:agency.example"
ALIAS = quote("#control:agency.example")
LEVELS = {
    "users_default": 0,
    "events_default": 0,
    "invite": 50,
    "kick": 50,
    "ban": 50,
    "redact": 50,
    "state_default": 100,
    "events": {"m.room.name": 50, "m.room.topic": 50},
}


@dataclass
class Admin:
    """Calls of the client-server API, as the bot by default: an administrator may do the same."""

    homeserver: Any

    def call(
        self, method: str, path: str, json: Any = None, *, token: str = "", ok: bool = True
    ) -> Any:
        given = token or self.homeserver.as_token
        answer = self.homeserver.request(method, f"/_matrix/client/v3/{path}", given, json)
        if ok:
            answer.raise_for_status()
        return answer.json() if ok else answer

    def state(self, room: str, kind: str, key: str = "", token: str = "") -> Any:
        return self.call("GET", f"rooms/{room}/state/{kind}/{quote(key)}", token=token)

    def set_state(self, room: str, kind: str, content: Any, token: str = "") -> None:
        self.call("PUT", f"rooms/{room}/state/{kind}/", content, token=token)

    def powers(self, room: str) -> dict[str, int]:
        return dict(self.state(room, "m.room.power_levels")["users"])

    def membership(self, room: str, user: str, token: str = "") -> str:
        answer = self.call(
            "GET", f"rooms/{room}/state/m.room.member/{quote(user)}", token=token, ok=False
        )
        return str(answer.json().get("membership", "")) if answer.ok else ""

    def invite(self, room: str, user: str, token: str = "") -> None:
        self.call("POST", f"rooms/{room}/invite", {"user_id": user}, token=token)

    def make_room(self, version: str) -> str:
        """Make the control room as the bot of an earlier start would have, with its alias."""
        body = {"type": "m.login.application_service", "username": "agency", "inhibit_login": True}
        self.call("POST", "register", body, ok=False)
        self.call("DELETE", f"directory/room/{ALIAS}", ok=False)
        users = {ALICE: 50} | ({BOT: 100} if version != "12" else {})
        body = {
            "preset": "private_chat",
            "room_version": version,
            "room_alias_name": "control",
            "invite": [ALICE],
            "power_level_content_override": {**LEVELS, "users": users},
        }
        return str(self.call("POST", "createRoom", body)["room_id"])


@pytest.fixture
def admin(homeserver: Any) -> Admin:
    return Admin(homeserver)


@pytest.fixture(scope="module")
def carol(homeserver: Any) -> str:
    """The access token of somebody who is no operator."""
    return str(homeserver.create_user("carol"))


@pytest.fixture
def codes(control: Any) -> Callable[[], list[str]]:
    """The codes of the conditions that the control plane's log has noted so far."""

    def codes() -> list[str]:
        lines = control.log.read_text().splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [str(each["condition"]) for each in found if "condition" in each]

    return codes
