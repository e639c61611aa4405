"""Rule of alerts: one that a host's rule finds reaches the control room, and is told once."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from agency import naming
from agency.transcript.rules.v1.rule import (
    Count,
    EventId,
    Http401,
    MatrixId,
    Path,
    ProbeRule,
    Seen,
    Shape,
    Some,
    Version,
    matches,
)
from agency.transcript.rules.v2.edge import Moment

UNITS = frozenset(
    (
        *("alertmanager.service", "prometheus.service", "prometheus-blackbox-exporter.service"),
        *("prometheus-node-exporter.service", "prometheus-process-exporter.service"),
    )
)
JOBS = frozenset(
    ("alertmanager", "control", "node", "probe-http", "processes", "prometheus", "synapse")
)
ATTEMPTS = ("missing", "wrong", "homeserver's")
CONNECTIONS = {
    (service, user): outcome
    for service in ("alertmanager", "control")
    for user, outcome in (("nobody", "refused"), ("prometheus", "connected"))
}


class Unit(Shape):
    """A unit of the way, by systemd."""

    name: Seen
    active: Literal["active"]


class Target(Shape):
    """A target that Prometheus asks for numbers."""

    job: Seen
    instance: Seen
    health: Literal["up"]
    last_error: Literal[""]


class Trial(Shape):
    """The unit that failed."""

    unit: Annotated[Seen, matches(r"[a-z][a-z-]*\.service", "the name of a service")]
    active: Literal["failed"]
    failed_at: Moment


class Labels(Shape):
    """Labels of the alert: its name, and the unit's."""

    alertname: Seen
    name: Seen
    severity: Literal["critical", "warning", "info"]


class Firing(Shape):
    """The alert as Prometheus says it, with the rule that found it."""

    version: Version
    rule: Seen
    file: Path
    query: Seen
    for_s: Count
    state: Literal["firing"]
    labels: Labels
    active_at: Moment


class Managed(Shape):
    """The alert as Alertmanager says it, with its receivers."""

    version: Version
    state: Literal["active"]
    receivers: Some[Literal["control-room"]]
    fingerprint: Annotated[str, matches(r"[0-9a-f]{16}", "a fingerprint")]
    labels: Labels
    starts_at: Moment


class Message(Shape):
    """The message that told it."""

    event_id: EventId
    sender: MatrixId
    body: Seen


class Again(Shape):
    """Deliveries of known alerts, before Alertmanager forgot and after it delivered again."""

    known_before: Annotated[int, Field(ge=0)]
    known_after: int

    @model_validator(mode="after")
    def _more(self) -> Self:
        if self.known_after <= self.known_before:
            raise ValueError("knownAfter: it was not delivered again")
        return self


class Attempt(Shape):
    """A delivery without the right token."""

    token: Literal["missing", "wrong", "homeserver's"]
    status: Http401


class Accepted(Shape):
    """One with the right token, which is refused for its form alone."""

    token: Literal["right"]
    status: Literal[400]


class Connection(Shape):
    """A try to connect to a port of the way."""

    service: Literal["alertmanager", "control"]
    user: Literal["nobody", "prometheus"]
    outcome: Literal["refused", "connected"]


class AlertsDelivered(Shape):
    """An alert on its way: found, passed on, told once; and who is not heard there."""

    units: Some[Unit]
    targets: Some[Target]
    trial: Trial
    prometheus: Firing
    alertmanager: Managed
    room_id: Annotated[Seen, matches(r"![\x21-\x7e]{1,254}", "the id of a room")]
    messages: Annotated[Some[Message], Field(max_length=1)]
    again: Again
    attempts: Some[Attempt]
    accepted: Accepted
    connections: Some[Connection]

    @model_validator(mode="after")
    def _same_alert(self) -> Self:
        found, managed = self.prometheus, self.alertmanager
        if found.labels != managed.labels or found.labels.alertname != found.rule:
            raise ValueError("alertmanager.labels: another alert than Prometheus found")
        if found.labels.name != self.trial.unit:
            raise ValueError("prometheus.labels: not about the unit that failed")
        begin, told = map(datetime.fromisoformat, (found.active_at, managed.starts_at))
        if told - begin < timedelta(seconds=found.for_s):
            raise ValueError("alertmanager.startsAt: before the rule had waited")
        return self

    @model_validator(mode="after")
    def _told(self) -> Self:
        (message,) = self.messages
        domain = message.sender.partition(":")[2]
        if message.sender != naming.matrix_id(naming.CONTROL_LOCALPART, domain):
            raise ValueError("messages: not by the control plane")
        if self.prometheus.rule not in message.body or self.trial.unit not in message.body:
            raise ValueError("messages: not about this alert")
        return self

    @model_validator(mode="after")
    def _whole(self) -> Self:
        missing = sorted(UNITS - {unit.name for unit in self.units})
        if missing:
            raise ValueError(f"units: lack {', '.join(missing)}")
        unasked = sorted(JOBS - {target.job for target in self.targets})
        if unasked:
            raise ValueError(f"targets: lack {', '.join(unasked)}")
        if tuple(one.token for one in self.attempts) != ATTEMPTS:
            raise ValueError(f"attempts: not {', '.join(ATTEMPTS)}")
        if {(one.service, one.user): one.outcome for one in self.connections} != CONNECTIONS:
            raise ValueError("connections: a stranger is heard, or who should be is not")
        return self


RULES = (
    ProbeRule(
        "alerts.delivered",
        "An alert that a rule of the host finds goes through Prometheus and Alertmanager, and the "
        "control room is told once, also when it is delivered again; who has another token or no "
        "business there is refused.",
        AlertsDelivered,
        frozenset(),
    ),
)
