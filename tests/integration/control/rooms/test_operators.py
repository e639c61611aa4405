"""Operators come and go: their power and their invitations, in rooms of a real Synapse."""

from __future__ import annotations

import time
from typing import Any

import pytest

ALICE, BOB, CAROL = (f"@{name}:agency.example" for name in ("alice", "bob", "carol"))
BOT = "@agency:agency.example"
SETTLE_S = 3.0  # time for the control plane to do what it should not do


@pytest.fixture(scope="module")
def bob(homeserver: Any) -> str:
    return str(homeserver.create_user("bob"))


@pytest.mark.parametrize("version", [pytest.param("10", marks=pytest.mark.thorough), "12"])
def test_who_was_taken_out_of_the_operators_has_no_power_left(
    control: Any, admin: Any, alice: str, bob: str, carol: str, version: str
) -> None:
    room = admin.make_room(version)
    control.config["operators"] = [ALICE, BOB]
    control.start()
    for token in (alice, bob):
        admin.call("POST", f"join/{room}", token=token)
    assert admin.powers(room)[BOB] == 50
    admin.invite(room, CAROL, token=bob)
    assert control.stop() == 0
    control.config["operators"] = [ALICE]
    control.start()
    assert BOB not in admin.powers(room)
    assert admin.powers(room)[ALICE] == 50
    ban = {"user_id": "@agent-pm:agency.example"}
    assert admin.call("POST", f"rooms/{room}/ban", ban, token=bob, ok=False).status_code == 403


@pytest.mark.parametrize("version", ["10", "12"])
def test_power_that_an_administrator_gives_is_taken_while_it_runs(
    control: Any, admin: Any, alice: str, carol: str, version: str, wait_for: Any
) -> None:
    room = admin.make_room(version)
    control.start()
    before = admin.state(room, "m.room.power_levels")
    changed = {
        **before,
        "users": {**before["users"], CAROL: 75, ALICE: 60},
        "events": {"m.room.encryption": 0},
        "ban": 0,
    }
    admin.set_state(room, "m.room.power_levels", changed)
    wait_for(lambda: admin.state(room, "m.room.power_levels") == before, "healed power levels")


def test_operator_who_leaves_is_invited_again_once(
    control: Any, admin: Any, alice: str, wait_for: Any, codes: Any
) -> None:
    room = admin.make_room("12")
    control.start()
    for _ in range(2):
        admin.call("POST", f"join/{room}", token=alice)
        admin.call("POST", f"rooms/{room}/leave", token=alice)
        wait_for(lambda: admin.membership(room, ALICE) == "invite", "invitation")
    admin.call("POST", f"rooms/{room}/leave", token=alice)  # declines
    wait_for(lambda: "operator-absent" in codes(), "condition")
    assert admin.membership(room, ALICE) == "leave"
    assert control.stop() == 0
    control.start()
    time.sleep(SETTLE_S)
    assert admin.membership(room, ALICE) == "leave", "and not after a restart either"


def test_operator_who_was_banned_is_not_invited(
    control: Any, admin: Any, alice: str, bob: str, wait_for: Any, codes: Any
) -> None:
    room = admin.make_room("12")
    control.config["operators"] = [ALICE, BOB]
    control.start()
    for token in (alice, bob):
        admin.call("POST", f"join/{room}", token=token)
    admin.call("PUT", f"rooms/{room}/state/m.room.member/{BOB}", {"membership": "ban"})
    wait_for(lambda: "operator-absent" in codes(), "condition")
    time.sleep(SETTLE_S)
    assert admin.membership(room, BOB) == "ban"
    admin.call("POST", f"rooms/{room}/unban", {"user_id": BOB}, token="")
    wait_for(lambda: admin.membership(room, BOB) == "invite", "invitation after the unban")
    assert admin.membership(room, BOT) == "join"
