"""Deliveries of Alertmanager, as its webhook writes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

STARTED = "2027-01-15T08:00:00.123456789Z"


def make_alert(name: str = "DiskFillsUp", status: str = "firing", **changes: Any) -> dict[str, Any]:
    """One alert, with labels and annotations in place of others."""
    return {
        "status": status,
        "labels": {"alertname": name, "severity": "critical", **changes.pop("labels", {})},
        "annotations": {
            "summary": "/ is full",
            "description": "Builds are the usual cause.",
            **changes.pop("annotations", {}),
        },
        "startsAt": STARTED,
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://127.0.0.1:8014/graph",
        "fingerprint": "0123456789abcdef",
        **changes,
    }


def make_body(*alerts: dict[str, Any], **changes: Any) -> bytes:
    """A delivery of these alerts, or of one that fires."""
    made = list(alerts) or [make_alert()]
    status = "firing" if any(one["status"] == "firing" for one in made) else "resolved"
    document = {
        "version": "4",
        "groupKey": '{}:{alertname="DiskFillsUp"}',
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "control-room",
        "groupLabels": {"alertname": "DiskFillsUp"},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://agency:9093",
        "alerts": made,
    }
    return json.dumps(document | changes).encode()


@pytest.fixture(name="make_alert")
def _make_alert() -> Callable[..., dict[str, Any]]:
    return make_alert


@pytest.fixture(name="make_body")
def _make_body() -> Callable[..., bytes]:
    return make_body
