"""A room that cannot be made as it should be: the control plane starts, says so, and heals it."""

from __future__ import annotations

from typing import Any

import pytest

BANNED = {"errcode": "M_BAD_STATE", "error": "Cannot invite user who was banned"}
FORBIDDEN = {"errcode": "M_FORBIDDEN", "error": "no"}
LIMITED = {"status": 429, "body": {"errcode": "M_LIMIT_EXCEEDED"}}
FOREIGN = ("@alice:agency.example", "@bob:far.example")


@pytest.mark.parametrize(
    ("part", "fault", "code", "changes"),
    [
        ("/invite", {"status": 403, "body": BANNED}, "agent-absent", {}),
        pytest.param("/invite", LIMITED, "agent-absent", {}, marks=pytest.mark.thorough),
        ("power_levels", {"status": 403, "body": FORBIDDEN}, "power-lacking", {"weak": True}),
        pytest.param(
            *("/invite", {"status": 502, "body": {}}, "operator-absent", {"operators": FOREIGN}),
            marks=pytest.mark.thorough,
        ),
    ],
)
def test_it_starts_and_says_what_is_degraded_and_heals(
    control: Any,
    stub: Any,
    wait_for: Any,
    part: str,
    fault: dict[str, Any],
    code: str,
    changes: dict[str, Any],
) -> None:
    if changes.pop("weak", False):
        changes["operators"] = FOREIGN
        stub.fail(part, times=1, after_posting=False, status=404)  # none are set yet
        stub.fail(part, times=1, **fault)
    elif "operators" in changes:
        control.config["agents"] = []
        stub.fail(part, times=2, **fault)
    else:
        stub.fail(part, times=2, **fault)
    control.config.update(changes)
    body = control.start()
    assert body["ready"] is True
    assert code in {each["code"] for each in body["warnings"]}
    hints = [each["hint"] for each in body["warnings"]]
    assert not any("registration" in hint for hint in hints)
    wait_for(lambda: control.ready().json()["warnings"] == [], "healed room", 40)
    wait_for(lambda: any("Mended" in each["body"] for each in stub.notices), "notice", 20)
    degraded = [each for each in stub.notices if "Degraded" in each["body"]]
    assert len(degraded) <= 2
    assert len(stub.notices) <= 4


def test_alias_that_is_lost_does_not_make_another_room(control: Any, stub: Any) -> None:
    assert control.start()["warnings"] == []
    assert control.stop() == 0
    calls = len(stub.calls)
    stub.fail("directory", times=1, status=404, body={"errcode": "M_NOT_FOUND"})
    stub.fail("directory", times=1, status=403, body=FORBIDDEN)
    (warning,) = control.start()["warnings"]
    assert warning["code"] == "alias-lost"
    assert not any("createRoom" in call for call in stub.calls[calls:])


def test_room_that_the_bot_may_not_enter_is_waited_for(
    control: Any, stub: Any, wait_for: Any
) -> None:
    stub.fail("/state", times=12, status=403, body=FORBIDDEN)  # by whoever of ours looks
    process = control.launch()
    wait_for(control.accepts, "server")
    wait_for(lambda: "cannot enter" in str(control.ready().json()["reasons"]), "reason")
    assert process.poll() is None
    wait_for(lambda: control.ready().status_code == 200, "healed room", 30)
