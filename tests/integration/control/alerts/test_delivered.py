"""An alert of the real Prometheus reaches the room once, and without a room people are told too."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import requests

from agency.clock import Clock
from agency.matrix import MatrixSession, Person, client_session
from agency.secrets import SecretValue
from agency.spinup.probes.alerts import (
    Monitoring,
    fired,
    given_again,
    messages,
    refusals,
    targets,
    wait_for_messages,
)


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
    time.sleep(1.2)  # more than an interval of the group
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
    time.sleep(1.2)
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


async def test_the_spin_ups_probe_follows_an_alert_and_its_second_delivery(
    monitoring: Any, outside: Any, control: Any, homeserver: Any, room: Any, wait_for: Any
) -> None:
    monitoring.start()
    outside.trouble = 1
    clock, name, bot = Clock(), monitoring.trouble, "@agency:agency.example"
    urls = [f"http://127.0.0.1:{monitoring.ports[one]}" for one in ("prometheus", "alertmanager")]
    async with client_session() as session:
        way = Monitoring(session, *urls, control.url)
        operator = Person(
            MatrixSession(homeserver.url, session, room.token), "@alice:agency.example"
        )
        asked = await targets(way, clock=clock, within_s=40)
        assert {(one["job"], one["health"]) for one in asked} == {
            (job, "up") for job in ("control", "alertmanager", "test")
        }
        seen = await fired(way, name, {"severity": "warning"}, clock=clock, within_s=40)
        assert (seen["prometheus"]["rule"], seen["prometheus"]["state"]) == (name, "firing")
        assert seen["alertmanager"]["labels"] == seen["prometheus"]["labels"]
        assert seen["alertmanager"]["receivers"] == ["control-room"]
        (told_once,) = await wait_for_messages(
            operator, room.room_id, bot, name, clock=clock, within_s=40
        )
        assert (told_once["sender"], name in told_once["body"]) == (bot, True)
        monitoring.forget()
        monitoring.start_alertmanager()
        again = await given_again(way, seen["alertmanager"], clock=clock, within_s=40)
        assert again["knownAfter"] > again["knownBefore"]
        assert await messages(operator, room.room_id, bot, name) == [told_once]
        # The controls: what is not there is not seen.
        other = await fired(way, name, {"severity": "info"}, clock=clock, within_s=0)
        assert other == {"prometheus": None, "alertmanager": None}
        assert await messages(operator, room.room_id, "@nobody:agency.example", name) == []
        monitoring.end("alertmanager")
        for _ in range(40):  # it was asked a moment ago
            states = {one["job"]: one for one in await targets(way, clock=clock, within_s=0)}
            if (gone := states["alertmanager"])["health"] == "down":
                break
            await asyncio.sleep(0.5)
        assert (gone["health"], gone["lastError"] == "") == ("down", False)
        down = await fired(way, name, {}, clock=clock, within_s=0)
        assert (down["prometheus"] is None, down["alertmanager"]) == (False, None)
        token = SecretValue(monitoring.token.read_text())
        other_token = SecretValue((control.credentials / "matrix-hs-token").read_text())
        refused = await refusals(way, token, other_token)
        assert [one["status"] for one in refused["attempts"]] == [401, 401, 401]
        assert refused["accepted"] == {"token": "right", "status": 400}
