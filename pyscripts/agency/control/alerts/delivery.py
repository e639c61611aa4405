"""Delivery of Alertmanager: its webhook's body, validated and within bounds.

Source: Alertmanager, "Configuration", webhook_config: the format of version 4. Fields that a newer
Alertmanager adds are ignored; a body that is refused is lost, since it retries none that gets 4xx.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from agency.canonical import canonical_json, sha256_hex

MAX_BODY = 256 * 1024
MAX_ALERTS = 100
_MAX_PAIRS = 100
_MAX_TEXT = 16 * 1024
_MAX_KEY = 64 * 1024


class MalformedAlertsError(ValueError):
    """A body that is no delivery of Alertmanager; the text names the first wrong field."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert of a group.

    Attributes:
        key: Identity of the alert in this state: of its group, its labels, and when it began.
        name, severity, summary, description: As the rule has them; untrusted text, may be empty.
    """

    key: str
    firing: bool
    name: str
    severity: str
    summary: str
    description: str
    started: datetime


@dataclass(frozen=True, slots=True)
class Delivery:
    """The alerts of one group; `left_out` are as many more as Alertmanager did not send."""

    group: str
    alerts: tuple[Alert, ...]
    left_out: int


_Text = Annotated[str, Field(max_length=_MAX_TEXT)]
_Pairs = Annotated[dict[_Text, _Text], Field(max_length=_MAX_PAIRS)]
_Status = Literal["firing", "resolved"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, hide_input_in_errors=True)


class _Alert(_Model):
    status: _Status
    labels: _Pairs
    annotations: _Pairs = {}
    started: AwareDatetime = Field(alias="startsAt")


class _Body(_Model):
    version: Literal["4"]
    group: str = Field(alias="groupKey", min_length=1, max_length=_MAX_KEY)
    alerts: list[_Alert] = Field(min_length=1, max_length=MAX_ALERTS)
    left_out: int = Field(default=0, alias="truncatedAlerts", ge=0, le=1_000_000)


def read_delivery(body: bytes) -> Delivery:
    """Read the body of a delivery.

    Raises:
        MalformedAlertsError: it is not in the format, or beyond the bounds.
    """
    try:
        read = _Body.model_validate_json(body)
        alerts = tuple(_alert(read.group, each) for each in read.alerts)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part)[:40] for part in first["loc"]) or "the body"
        raise MalformedAlertsError(f"{where}: {first['msg'][:200]}") from None
    except OverflowError:  # a time that UTC has no year for
        raise MalformedAlertsError("startsAt: out of range") from None
    return Delivery(read.group, alerts, read.left_out)


def _alert(group: str, read: _Alert) -> Alert:
    started = read.started.astimezone(UTC)
    identity = [group, read.labels, read.status, started.isoformat()]
    return Alert(
        key=sha256_hex(canonical_json(identity)),
        firing=read.status == "firing",
        name=read.labels.get("alertname", ""),
        severity=read.labels.get("severity", ""),
        summary=read.annotations.get("summary", ""),
        description=read.annotations.get("description", ""),
        started=started,
    )
