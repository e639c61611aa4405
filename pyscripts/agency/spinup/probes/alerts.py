"""The probe `alerts.delivered`: an alert given to Alertmanager reaches people by both ways."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from agency.clock import Clock, new_id
from agency.matrix import Person, client_path
from agency.protocols import NOTICE_KEY
from agency.spinup.record import Evidence

PROBE = "alerts.delivered"
_POLL_S = 0.5
_NAME = "AlertsDelivered"

# What gives Alertmanager these alerts, in the form of its API (POST /api/v2/alerts).
Give = Callable[[list[dict[str, Any]]], Awaitable[None]]
# What reads the bodies that the second way has received so far, as Alertmanager posts them.
Receipts = Callable[[], Awaitable[Iterable[Mapping[str, Any]]]]


@dataclass(frozen=True, slots=True)
class Way:
    """The way of alerts: the room with its reader and its bot, and the second way's receipts."""

    operator: Person
    room_id: str
    bot_id: str
    give: Give
    receipts: Receipts | None = None


def by_http(session: aiohttp.ClientSession, url: str) -> Give:
    """Give alerts to the Alertmanager at `url`, which hears root and Prometheus alone on a host."""

    async def give(alerts: list[dict[str, Any]]) -> None:
        async with session.post(f"{url}/api/v2/alerts", json=alerts) as answer:
            answer.raise_for_status()

    return give


async def delivered(way: Way, *, clock: Clock, within_s: float = 60.0) -> Evidence:
    """Give an alert about the control plane, and wait for it in the room and the second way.

    The alert has a name of its own, so that no other is taken for it. What did not arrive in time
    is null. Alertmanager waits for a group to fill (`group_wait`) before it tells of it.
    """
    name = f"{_NAME}-{new_id('a')}"
    fired_at = clock.now_iso()
    await way.give([_alert(name, fired_at)])
    until = clock.steady() + within_s
    event, receipt = None, None
    while clock.steady() < until:
        event = event or await _event(way, name)
        receipt = receipt or await _receipt(way, name)
        if event is not None and (receipt is not None or way.receipts is None):
            break
        await asyncio.sleep(_POLL_S)
    ended_at = clock.now_iso()
    await way.give([_alert(name, fired_at, ended_at)])
    return {
        "alert": name,
        "firedAt": fired_at,
        "roomId": way.room_id,
        "eventId": None if event is None else event["event_id"],
        "sender": None if event is None else event["sender"],
        "body": None if event is None else event["content"].get("body"),
        "secondWay": receipt,
    }


def _alert(name: str, starts: str, ends: str | None = None) -> dict[str, Any]:
    labels = {"alertname": name, "severity": "info", "component": "control-plane"}
    annotations = {"summary": "a trial of the way of alerts"}
    made: dict[str, Any] = {"labels": labels, "annotations": annotations, "startsAt": starts}
    return made if ends is None else made | {"endsAt": ends}


async def _event(way: Way, name: str) -> dict[str, Any] | None:
    path = client_path("rooms", way.room_id, "messages")
    found = await way.operator.request("GET", path, query={"dir": "b", "limit": "50"})
    for event in found.get("chunk", []):
        about = event.get("content", {}).get(NOTICE_KEY, {})
        named = [one.get("name") for one in about.get("alerts", [])]
        if name in named and event.get("sender") == way.bot_id:
            return dict(event)
    return None


async def _receipt(way: Way, name: str) -> Evidence | None:
    for body in await way.receipts() if way.receipts is not None else ():
        for alert in body.get("alerts", []):
            if alert.get("labels", {}).get("alertname") == name:
                return {
                    "receiver": body.get("receiver"),
                    "status": alert.get("status"),
                    "fingerprint": alert.get("fingerprint"),
                }
    return None
