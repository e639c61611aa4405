"""Observations for `alerts.delivered`: an alert on its way from Prometheus to the control room.

a failed unit ─▶ Prometheus ─▶ Alertmanager ─▶ POST /alerts ─▶ control room
                  fired ──────────┘              refusals        messages
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import aiohttp

from agency.clock import Clock
from agency.matrix import Person, client_path
from agency.protocols import NOTICE_KEY
from agency.secrets import SecretValue
from agency.spinup.record import Evidence

PROBE = "alerts.delivered"
_POLL_S = 0.5
_KNOWN = re.compile(r'^agency_control_alerts_total\{result="known"\} (\S+)$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Monitoring:
    """Base URLs of the programs on the way, and a session that reaches them."""

    session: aiohttp.ClientSession
    prometheus: str
    alertmanager: str
    control: str

    async def ask(self, url: str) -> Any:
        """Ask one of them for JSON; None where it does not answer."""
        try:
            async with self.session.get(url) as answer:
                answer.raise_for_status()
                return await answer.json()
        except aiohttp.ClientError:
            return None

    async def give(self, alerts: list[dict[str, Any]]) -> None:
        """Give Alertmanager alerts, in the form of its API; it hears root and Prometheus alone.

        Raises:
            aiohttp.ClientError: it does not take them.
        """
        async with self.session.post(f"{self.alertmanager}/api/v2/alerts", json=alerts) as answer:
            answer.raise_for_status()

    async def known(self) -> int:
        """Count the alerts that came to the control plane again, by its own numbers.

        Raises:
            aiohttp.ClientError: it does not answer.
        """
        async with self.session.get(f"{self.control}/metrics") as answer:
            found = _KNOWN.search(await answer.text())
        return int(float(found[1])) if found is not None else 0


async def fired(
    way: Monitoring, name: str, labels: Mapping[str, str], *, clock: Clock, within_s: float
) -> Evidence:
    """Wait until an alert fires in Prometheus and is known to Alertmanager; both as they say it.

    What was not seen in time is null.
    """
    until = clock.steady() + within_s
    while True:
        seen = {
            "prometheus": await _in_prometheus(way, name, labels),
            "alertmanager": await _in_alertmanager(way, name, labels),
        }
        if None not in seen.values() or clock.steady() >= until:
            return seen
        await asyncio.sleep(_POLL_S)


async def targets(way: Monitoring, *, clock: Clock, within_s: float) -> list[Evidence]:
    """List what Prometheus asks, when all of it has answered or the time is over."""
    until = clock.steady() + within_s
    while True:
        answer = await way.ask(f"{way.prometheus}/api/v1/targets?state=active")
        active = [] if answer is None else answer["data"]["activeTargets"]
        is_up = bool(active) and all(one["health"] == "up" for one in active)
        if is_up or clock.steady() >= until:
            break
        await asyncio.sleep(_POLL_S)
    return [
        {
            "job": one["labels"]["job"],
            "instance": one["labels"]["instance"],
            "health": one["health"],
            "lastError": one["lastError"],
        }
        for one in active
    ]


async def messages(operator: Person, room_id: str, bot_id: str, word: str) -> list[Evidence]:
    """List the bot's messages in a room that tell an alert about `word` firing."""
    path = client_path("rooms", room_id, "messages")
    found = await operator.request("GET", path, query={"dir": "b", "limit": "100"})
    return [
        {"eventId": event["event_id"], "sender": event["sender"], "body": event["content"]["body"]}
        for event in found.get("chunk", [])
        if event.get("sender") == bot_id
        and any(one.get("firing") for one in _told(event))
        and word in event["content"].get("body", "")
    ]


async def wait_for_messages(
    operator: Person, room_id: str, bot_id: str, word: str, *, clock: Clock, within_s: float
) -> list[Evidence]:
    """List them as `messages` does, when there are some or the time is over."""
    until = clock.steady() + within_s
    while True:
        found = await messages(operator, room_id, bot_id, word)
        if found or clock.steady() >= until:
            return found
        await asyncio.sleep(_POLL_S)


async def given_again(
    way: Monitoring, alert: Mapping[str, Any], *, clock: Clock, within_s: float
) -> Evidence:
    """Give an alert that was told to an Alertmanager that forgot it, which delivers it again.

    Returns the numbers of deliveries of what was known, before and when there was one more.
    """
    before = after = await way.known()
    until = clock.steady() + within_s
    while after <= before and clock.steady() < until:
        with contextlib.suppress(aiohttp.ClientError):  # it has just been started
            await way.give([{key: alert[key] for key in ("labels", "annotations", "startsAt")}])
        await asyncio.sleep(_POLL_S)
        after = await way.known()
    return {"knownBefore": before, "knownAfter": after}


async def refusals(way: Monitoring, token: SecretValue, other: SecretValue) -> Evidence:
    """Knock at the webhook without the right token; `other` opens another door of the same house.

    That the right one opens is seen by a body that is then refused for its form.
    """
    url = f"{way.control}/alerts"
    tries: tuple[tuple[str, dict[str, str]], ...] = (
        ("missing", {}),
        ("wrong", {"Authorization": f"Bearer {'x' * len(token.reveal())}"}),
        ("homeserver's", {"Authorization": f"Bearer {other.reveal()}"}),
        ("right", {"Authorization": f"Bearer {token.reveal()}"}),
    )
    seen = []
    for kind, headers in tries:
        async with way.session.post(url, json={}, headers=headers) as answer:
            seen.append({"token": kind, "status": answer.status})
    return {"attempts": seen[:-1], "accepted": seen[-1]}


def _told(event: Mapping[str, Any]) -> list[dict[str, Any]]:
    about: dict[str, Any] = event.get("content", {}).get(NOTICE_KEY, {})
    return list(about.get("alerts", []))


def _fits(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in wanted.items())


def _moment(text: str) -> str:
    """Return a time of Prometheus, which has nanoseconds, as precise as it tells Alertmanager."""
    return datetime.fromisoformat(text).astimezone(UTC).isoformat(timespec="milliseconds")


async def _in_prometheus(way: Monitoring, name: str, labels: Mapping[str, str]) -> Evidence | None:
    answer = await way.ask(f"{way.prometheus}/api/v1/rules?type=alert")
    build = await way.ask(f"{way.prometheus}/api/v1/status/buildinfo")
    groups = [] if answer is None or build is None else answer["data"]["groups"]
    rules = [(rule, group["file"]) for group in groups for rule in group["rules"]]
    for rule, file in rules:
        for alert in rule["alerts"] if rule["name"] == name else ():
            if alert["state"] == "firing" and _fits(alert["labels"], labels):
                return {
                    "version": build["data"]["version"],
                    "rule": name,
                    "file": file,
                    "query": rule["query"],
                    "forS": int(rule["duration"]),
                    "state": alert["state"],
                    "labels": alert["labels"],
                    "activeAt": _moment(alert["activeAt"]),
                }
    return None


async def _in_alertmanager(
    way: Monitoring, name: str, labels: Mapping[str, str]
) -> Evidence | None:
    query = urlencode({"filter": f'alertname="{name}"'})
    answer = await way.ask(f"{way.alertmanager}/api/v2/alerts?{query}")
    status = await way.ask(f"{way.alertmanager}/api/v2/status")
    for alert in answer or () if status is not None else ():
        if _fits(alert["labels"], labels):
            return {
                "version": status["versionInfo"]["version"],
                "state": alert["status"]["state"],
                "receivers": [one["name"] for one in alert["receivers"]],
                "fingerprint": alert["fingerprint"],
                "labels": alert["labels"],
                "annotations": alert["annotations"],
                "startsAt": alert["startsAt"],
            }
    return None
