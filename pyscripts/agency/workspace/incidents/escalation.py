"""Escalation of critical incidents to the control room, by the control plane's webhook of alerts.

shared record ─▶ plan (pure) ─▶ state: since when ─▶ POST /alerts ─▶ state: told
                                    └─ a crash in between sends the same alert again, and the
                                       control plane tells an alert once
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from agency.clock import Clock
from agency.errors import BadInputError, PrerequisiteError
from agency.files import write_atomically
from agency.secrets import ALERTMANAGER_TOKEN, SecretValue
from agency.settings import parse, read_bounded
from agency.workspace.incidents.model import Shared

MOST_AT_ONCE = 50
MOST_OF_AGENT = 10
_MOST_KEPT = 5000
_TIMEOUT_S = 20.0
_STATE = "told.json"


class Told(BaseModel):
    """One incident as people know it; `told` None is not yet."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    since: str
    text: str
    told: Literal["firing", "resolved"] | None = None


class State(BaseModel):
    """Incidents that were told, by agent and name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    incidents: dict[str, Told] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """News for people: what began and what is over, and the state before they are told."""

    firing: tuple[str, ...]
    resolved: tuple[str, ...]
    state: State

    @property
    def keys(self) -> tuple[str, ...]:
        """All that is told."""
        return (*self.firing, *self.resolved)


def plan(incidents: Iterable[Shared], state: State, now: str) -> Plan:
    """Decide what people are told: critical and open, not yet told; and told, but over."""
    known = dict(state.incidents)
    critical = {f"{one.agent}/{one.name}": one for one in incidents if _rings(one)}
    firing: list[str] = []
    counts: dict[str, int] = {}
    for key, incident in critical.items():
        old = known.get(key)
        if old is None or old.told == "resolved":
            old = Told(since=now, text=incident.description)
        if old.told == "firing" or len(firing) >= MOST_AT_ONCE:
            continue
        if counts.setdefault(incident.agent, 0) < MOST_OF_AGENT:
            counts[incident.agent] += 1
            known[key] = old
            firing.append(key)
    over = [key for key, old in known.items() if key not in critical and old.told != "resolved"]
    resolved = [key for key in over if known[key].told == "firing"]
    for key in set(over) - set(resolved):
        del known[key]  # nobody heard of it
    settled = [key for key, old in known.items() if old.told == "resolved"]
    for key in settled[: max(0, len(known) - _MOST_KEPT)]:
        del known[key]
    room = MOST_AT_ONCE - len(firing)
    return Plan(tuple(firing), tuple(resolved[:room]), State(incidents=known))


def _rings(incident: Shared) -> bool:
    return incident.severity == "critical" and incident.status == "open"


def after(plan: Plan) -> State:
    """Return the state when people were told."""
    known = dict(plan.state.incidents)
    for key in plan.firing:
        known[key] = known[key].model_copy(update={"told": "firing"})
    for key in plan.resolved:
        known[key] = known[key].model_copy(update={"told": "resolved"})
    return State(incidents=known)


def delivery(plan: Plan) -> bytes:
    """Return the news in the format of Alertmanager's webhook, version 4."""
    alerts = [_alert(key, plan.state.incidents[key], "firing") for key in plan.firing]
    alerts += [_alert(key, plan.state.incidents[key], "resolved") for key in plan.resolved]
    body = {"version": "4", "groupKey": "agency-incidents", "alerts": alerts}
    return json.dumps(body).encode()


def _alert(key: str, told: Told, status: str) -> dict[str, object]:
    agent = key.partition("/")[0]
    return {
        "status": status,
        "startsAt": told.since,
        "labels": {"alertname": f"Incident {key}", "severity": "critical", "agent": agent},
        "annotations": {
            "summary": " ".join(told.text.split())[:1000],
            "description": f"agent {agent} wrote it; ISSUES.yaml of its workspace has more",
        },
    }


class Room(Protocol):
    """Interface of what tells people."""

    def tell(self, body: bytes) -> None:
        """Hand over a delivery.

        Raises:
            PrerequisiteError: not now; try again. BadInputError: it is refused.
        """


@dataclass(frozen=True, slots=True)
class Webhook:
    """The control plane's webhook of alerts."""

    url: str
    token: SecretValue

    def tell(self, body: bytes) -> None:
        """Post a delivery; it is told when this returns."""
        import requests

        headers = {
            "Authorization": f"Bearer {self.token.reveal()}",
            "Content-Type": "application/json",
        }
        hint = "`agency conditions` on the machine says what hinders the control plane"
        try:
            with requests.Session() as session:
                session.trust_env = False
                answer = session.post(
                    self.url, data=body, headers=headers, timeout=_TIMEOUT_S, allow_redirects=False
                )
        except requests.RequestException as error:
            reason = type(error).__name__
            raise PrerequisiteError(
                f"the control plane does not answer: {reason}", where=self.url, hint=hint
            ) from None
        if answer.status_code >= 500:
            raise PrerequisiteError(
                f"the control plane cannot tell it now: HTTP {answer.status_code}",
                where=self.url,
                hint=hint,
            )
        if answer.status_code != 200:
            raise BadInputError(
                f"the control plane refuses it: HTTP {answer.status_code}",
                where=self.url,
                hint=f"compare the secret {ALERTMANAGER_TOKEN} of both units",
            )


def escalate(incidents: Iterable[Shared], directory: Path, room: Room, clock: Clock) -> Plan:
    """Tell people what is new; `directory` keeps what they were told.

    Raises:
        PrerequisiteError: not now, or the state cannot be kept: it is told the next time.
        BadInputError: the state or the delivery is refused.
    """
    path = directory / _STATE
    state = State()
    if path.exists():
        hint = "remove it: critical incidents are then told again"
        state = parse(State, read_bounded(path, most=16 * 2**20), where=str(path), hint=hint)
    found = plan(incidents, state, clock.now_iso())
    if found.state != state:
        _keep(path, found.state)
    if found.keys:
        room.tell(delivery(found))
        _keep(path, after(found))
    return found


def _keep(path: Path, state: State) -> None:
    write_atomically(path, state.model_dump_json().encode(), mode=0o600)
