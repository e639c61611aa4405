"""Replies reach the room through every fault of a homeserver, once and in order."""

from __future__ import annotations

import time
from typing import Any

import pytest


def order(stub: Any) -> list[str]:
    return [content["org.agency.reply"]["command"] for content in stub.posted.values()]


def thorough(value: object) -> Any:
    """Leave a value of the same kind as others to `make test-thorough`."""
    return pytest.param(value, marks=pytest.mark.thorough)


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 429, "body": {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 300}},
        {"status": 401, "body": {"errcode": "M_UNKNOWN_TOKEN"}},
        {"status": None, "after_posting": True},
        thorough({"status": 500}),
        thorough({"status": 502, "body": {"errcode": "M_UNKNOWN"}}),
        thorough({"status": None}),
        thorough({"status": 500, "after_posting": True}),
    ],
)
def test_temporary_fault_is_outlasted(
    control: Any, stub: Any, make_event: Any, wait_for: Any, fault: dict[str, Any]
) -> None:
    control.start()
    stub.fail("/send/", times=2, **fault)
    events = [make_event("!agency ping") for _ in range(3)]
    begun = time.monotonic()
    control.deliver(events)
    wait_for(lambda: len(stub.posted) == 3, "replies")
    wait_for(
        lambda: control.query("SELECT count(*) FROM outbox WHERE state = 'sent'") == [(3,)], "end"
    )
    assert order(stub) == [event["event_id"] for event in events]
    if fault.get("status") == 429:
        assert time.monotonic() - begun >= 0.6, "it waits as long as it is asked to"


@pytest.mark.parametrize("status", [403, thorough(404), thorough(413)])
def test_permanent_fault_is_given_up_audited_and_seen(
    control: Any, stub: Any, make_event: Any, wait_for: Any, status: int
) -> None:
    control.start()
    stub.fail("/send/", status=status, body={"errcode": "M_FORBIDDEN", "error": "no"})
    first, second = make_event("!agency ping"), make_event("!agency ping")
    control.deliver([first, second])
    wait_for(lambda: stub.replies(second["event_id"]), "the reply behind it")
    assert stub.replies(first["event_id"]) == []
    failed = [row for row in control.audit() if row["action"] == "reply"]
    assert [(row["outcome"], row["actor"]) for row in failed] == [("failed", "system")]

    def seen() -> bool:
        body = control.ready(5).json()
        return bool(body["outbox"] == {"pending": 0, "failed": 1})

    wait_for(seen, "failed reply in /ready")


def test_attempts_are_bounded(
    make_control: Any, credentials: Any, stub: Any, make_event: Any, wait_for: Any
) -> None:
    control = make_control(credentials, homeserver_url=stub.url, limits={"send_attempts": 3})
    control.start()
    stub.fail("/send/", times=100, status=500)
    control.deliver([make_event("!agency ping")])
    wait_for(
        lambda: control.query("SELECT state, attempts FROM outbox") == [("failed", 3)], "giving up"
    )
    assert len([call for call in stub.calls if "/send/" in call]) == 3


def test_reply_that_cannot_stand_in_a_thread_is_sent_all_the_same(
    control: Any, stub: Any, make_event: Any, wait_for: Any
) -> None:
    control.start()
    stub.fail("/send/", status=400, body={"errcode": "M_UNKNOWN", "error": "unknown event"})
    event = make_event("!agency ping")
    control.deliver([event])
    (reply,) = wait_for(lambda: stub.replies(event["event_id"]), "reply")
    assert "m.relates_to" not in reply
    assert reply["body"].startswith("pong")


def test_homeserver_that_is_away_for_a_while(
    control: Any, stub: Any, make_event: Any, wait_for: Any
) -> None:
    control.start()
    stub.fail("", times=1000, status=None)
    event = make_event("!agency ping")
    assert control.deliver([event]).status_code == 200

    def unready() -> dict[str, Any] | None:
        answer = control.ready(10)
        return dict(answer.json()) if answer.status_code == 503 else None

    body = wait_for(unready, "unreadiness")
    assert body["homeserver"]["reachable"] is False
    assert any("homeserver" in reason for reason in body["reasons"])
    stub.mend()
    wait_for(lambda: stub.replies(event["event_id"]), "reply")


def test_change_waits_while_the_homeserver_restarts(
    control: Any, stub: Any, make_event: Any, wait_for: Any
) -> None:
    """It is not refused, holds up no end of the control plane, and runs in the end."""
    states = "SELECT state FROM operations"
    control.start()
    stub.fail("", times=1000, status=None)
    event = make_event("!agency agents stop pm")
    assert control.deliver([event]).status_code == 200
    wait_for(lambda: control.query(states) == [("granted",)], "admission")
    time.sleep(3)
    assert control.query(states) == [("granted",)]
    begun = time.monotonic()
    assert control.stop() == 0
    assert time.monotonic() - begun < 5
    assert control.query(states) == [("granted",)]
    stub.mend()
    control.start()
    (reply,) = wait_for(lambda: stub.replies(event["event_id"]), "reply")
    assert reply["org.agency.reply"]["ok"] is True, reply["body"]
