"""An alert of the real Prometheus reaches the room once, and without a room people are told too."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
import requests

from agency.clock import Clock
from agency.matrix import MatrixSession, Person, client_session
from agency.spinup.probes.alerts import Way, by_http, delivered


def told(room: Any, name: str) -> list[dict[str, Any]]:
    """The messages of the control plane about an alert, oldest first."""
    found = [
        event["content"]
        for event in room.homeserver.messages(room.token, room.room_id)
        if event["sender"] == "@agency:agency.example"
        and any(
            alert["name"] == name
            for alert in event["content"].get("org.agency.notice", {}).get("alerts", [])
        )
    ]
    return found[::-1]


def number(control: Any, line: str) -> float:
    """A number of the control plane, by the begin of its line."""
    text = requests.get(f"{control.url}/metrics", timeout=5).text
    return next(float(one.split()[-1]) for one in text.splitlines() if one.startswith(line))


def test_alert_reaches_the_room_when_it_fires_and_when_it_is_over(
    monitoring: Any, outside: Any, room: Any, wait_for: Any
) -> None:
    monitoring.start()
    outside.trouble = 1
    (firing,) = wait_for(lambda: told(room, monitoring.trouble), "message about the alert", 40)
    assert firing["body"].startswith(
        f"Warning: {monitoring.trouble}: @ room \u2039b\u203atrouble\u2039/b\u203a."
    )
    assert (firing["msgtype"], firing["m.mentions"]) == ("m.text", {})
    outside.trouble = 0
    wait_for(lambda: len(told(room, monitoring.trouble)) == 2, "message that it is over", 40)
    assert told(room, monitoring.trouble)[1]["body"].startswith(f"Over: {monitoring.trouble}: ")
    time.sleep(3)  # more than an interval of the group
    assert len(told(room, monitoring.trouble)) == 2
    assert outside.received == []  # it is not about the control plane


@pytest.mark.thorough
def test_wrong_token_tells_nothing(
    monitoring: Any, outside: Any, control: Any, room: Any, wait_for: Any
) -> None:
    right = monitoring.token.read_text()
    monitoring.token.write_text("x" * len(right))
    monitoring.start()
    outside.trouble = 1
    refused = 'agency_control_refused_total{reason="token"}'
    wait_for(lambda: number(control, refused) >= 1, "refusal", 40)
    assert told(room, monitoring.trouble) == []
    assert control.query("SELECT count(*) FROM alerts") == [(0,)]
    # That nothing arrives is itself told: the second way does not need the token.
    wait_for(lambda: "AlertsDoNotArrive" in outside.names("firing"), "alert about alerts", 40)
    monitoring.token.write_text(right)
    wait_for(lambda: told(room, monitoring.trouble), "message with the right token", 60)


def test_while_the_control_plane_is_down_the_second_way_is_taken(
    monitoring: Any, outside: Any, control: Any, room: Any, wait_for: Any
) -> None:
    monitoring.start()
    wait_for(monitoring.sees_control, "scrape of the control plane", 40)
    assert outside.received == []
    control.stop()
    outside.trouble = 1
    wait_for(lambda: "ControlPlaneDown" in outside.names("firing"), "alert the second way", 40)
    wait_for(lambda: monitoring.failed() >= 1, "failed delivery", 40)
    assert monitoring.trouble not in outside.names("firing")
    control.start()
    wait_for(lambda: told(room, monitoring.trouble), "message about what fired meanwhile", 60)
    wait_for(lambda: "ControlPlaneDown" in outside.names("resolved"), "end the second way", 60)
    time.sleep(3)
    assert len(told(room, monitoring.trouble)) == 1


def test_what_is_delivered_again_is_not_told_again(
    monitoring: Any, outside: Any, control: Any, room: Any, wait_for: Any
) -> None:
    monitoring.start()
    outside.trouble = 1
    wait_for(lambda: told(room, monitoring.trouble), "message about the alert", 40)
    control.process.kill()
    control.process.wait()
    control.start()
    monitoring.forget()
    monitoring.start_alertmanager()
    known = 'agency_control_alerts_total{result="known"}'
    wait_for(lambda: number(control, known) >= 1, "second delivery", 60)
    time.sleep(1)
    assert len(told(room, monitoring.trouble)) == 1


def test_one_can_be_tried_by_hand(monitoring: Any, room: Any, wait_for: Any) -> None:
    """As docs/alerts.md says."""
    monitoring.configure()
    monitoring.start_alertmanager()
    wait_for(monitoring.answers, "answer of Alertmanager", 20)
    monitoring.amtool("alert", "add", "ByHand", "severity=info", "--annotation=summary=a try")
    (firing,) = wait_for(lambda: told(room, "ByHand"), "message about it", 40)
    assert firing["body"].startswith("Info: ByHand: a try")


async def test_the_probe_sees_it_arrive_both_ways(
    monitoring: Any, outside: Any, homeserver: Any, room: Any, wait_for: Any
) -> None:
    monitoring.configure()
    monitoring.start_alertmanager()
    wait_for(monitoring.answers, "answer of Alertmanager", 20)
    url = f"http://127.0.0.1:{monitoring.ports['alertmanager']}"

    async def receipts() -> list[dict[str, Any]]:
        return list(outside.received)

    async with client_session() as session:
        operator = Person(
            MatrixSession(homeserver.url, session, room.token), "@alice:agency.example"
        )
        way = Way(operator, room.room_id, "@agency:agency.example", by_http(session, url), receipts)
        seen = await delivered(way, clock=Clock(), within_s=40)
        silent = replace(way, room_id=room.room_id, bot_id="@nobody:agency.example", receipts=None)
        unseen = await delivered(silent, clock=Clock(), within_s=3)
    assert seen["eventId"].startswith("$")
    assert seen["sender"] == "@agency:agency.example"
    assert seen["alert"] in seen["body"]
    assert (seen["secondWay"]["receiver"], seen["secondWay"]["status"]) == ("second-way", "firing")
    assert (unseen["eventId"], unseen["secondWay"]) == (None, None)
