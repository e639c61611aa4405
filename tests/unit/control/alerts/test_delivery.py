"""A delivery is read whole, or refused with the name of the wrong field."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.control.alerts.delivery import (
    MAX_ALERTS,
    Delivery,
    MalformedAlertsError,
    read_delivery,
)

Make = Callable[..., Any]


def test_delivery_is_read(make_body: Make, make_alert: Make) -> None:
    delivery = read_delivery(
        make_body(make_alert(), make_alert("MemoryRunsOut", "resolved"), truncatedAlerts=3, new=[])
    )
    first, second = delivery.alerts
    assert (first.name, first.severity, first.firing) == ("DiskFillsUp", "critical", True)
    assert (second.name, second.firing, delivery.left_out) == ("MemoryRunsOut", False, 3)
    assert first.started.isoformat() == "2027-01-15T08:00:00.123456+00:00"


def _changed(body: bytes, where: tuple[str | int, ...], value: object) -> bytes:
    document = part = json.loads(body)
    for key in where[:-1]:
        part = part[key]
    if value is None:
        del part[where[-1]]
    else:
        part[where[-1]] = value
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("version",), "5"),
        (("version",), 4),
        (("groupKey",), ""),
        (("groupKey",), None),
        (("groupKey",), "x" * 70_000),
        (("alerts",), []),
        (("alerts",), {}),
        (("truncatedAlerts",), -1),
        (("alerts", 0, "status"), "pending"),
        (("alerts", 0, "labels"), {"a": 1}),
        (("alerts", 0, "labels", "alertname"), ["x"]),
        (("alerts", 0, "labels", "long"), "x" * 20_000),
        (("alerts", 0, "labels"), {f"l{n}": "" for n in range(101)}),
        (("alerts", 0, "startsAt"), "yesterday"),
        (("alerts", 0, "startsAt"), "2027-01-15T08:00:00"),
        (("alerts", 0, "startsAt"), None),
    ],
)
def test_what_is_wrong_is_named(make_body: Make, where: tuple[str | int, ...], value: Any) -> None:
    with pytest.raises(MalformedAlertsError) as caught:
        read_delivery(_changed(make_body(), where, value))
    assert str(caught.value).startswith(".".join(str(part) for part in where[:1]))
    assert len(str(caught.value)) < 500


def test_alerts_are_bounded(make_body: Make, make_alert: Make) -> None:
    assert len(read_delivery(make_body(*[make_alert()] * MAX_ALERTS)).alerts) == MAX_ALERTS
    with pytest.raises(MalformedAlertsError, match="alerts"):
        read_delivery(make_body(*[make_alert()] * (MAX_ALERTS + 1)))


def test_time_without_a_year_in_utc_is_refused(make_body: Make, make_alert: Make) -> None:
    with pytest.raises(MalformedAlertsError, match="startsAt"):
        read_delivery(make_body(make_alert(startsAt="0001-01-01T00:00:00+14:00")))


def test_refusal_does_not_quote_the_body(make_body: Make, make_alert: Make) -> None:
    with pytest.raises(MalformedAlertsError) as caught:
        read_delivery(make_body(make_alert(startsAt="canary-5d1f")))
    assert "canary" not in str(caught.value)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with pytest.raises(MalformedAlertsError):
        read_delivery(body)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    field=st.sampled_from(["version", "groupKey", "alerts", "truncatedAlerts", "status"]),
    value=_JSON,
)
def test_any_field_is_read_or_refused(field: str, value: object) -> None:
    body = {"version": "4", "groupKey": "g", "alerts": [], "truncatedAlerts": 0} | {field: value}
    with contextlib.suppress(MalformedAlertsError):
        assert isinstance(read_delivery(json.dumps(body).encode()), Delivery)


def test_identity_is_of_group_labels_state_and_beginning(make_body: Make, make_alert: Make) -> None:
    def key(*alerts: dict[str, Any], **changes: Any) -> str:
        return read_delivery(make_body(*alerts, **changes)).alerts[0].key

    same = key()
    assert key(make_alert(annotations={"summary": "other"}, endsAt="2030-01-01T00:00:00Z")) == same
    assert key(make_alert(fingerprint="f" * 16)) == same
    others = {
        key(groupKey="other"),
        key(make_alert(status="resolved")),
        key(make_alert(labels={"mountpoint": "/srv"})),
        key(make_alert(startsAt="2027-01-15T08:00:01Z")),
    }
    assert len(others) == 4
    assert same not in others
