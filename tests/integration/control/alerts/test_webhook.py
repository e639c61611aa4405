"""The webhook's refusals, and the numbers that the rules ask for, at the running control plane."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

FOLDER = Path(__file__).resolve().parents[4] / "modules/observability"
ALERT = {
    "status": "firing",
    "labels": {"alertname": "ByHand"},
    "startsAt": "2027-01-15T08:00:00Z",
}
BODY = {"version": "4", "groupKey": "{}:{}", "alerts": [ALERT]}


def post(control: Any, body: Any = None, token: str | None = None, **headers: str) -> Any:
    given = token or (control.credentials / "alertmanager-token").read_text()
    data = json.dumps(BODY).encode() if body is None else body
    return requests.post(
        f"{control.url}/alerts",
        data=data,
        headers={"Authorization": f"Bearer {given}", **headers},
        timeout=10,
    )


def stored(control: Any) -> int:
    return int(control.query("SELECT count(*) FROM alerts")[0][0])


def test_refusals_store_nothing_and_are_counted(control: Any, room: Any) -> None:
    def chunks() -> Iterator[bytes]:
        yield json.dumps(BODY).encode()

    hs_token = (control.credentials / "matrix-hs-token").read_text()
    for status, answer in {
        "wrong": (401, post(control, token="x" * 43)),
        "homeserver's": (401, post(control, token=hs_token)),
        "none": (401, requests.post(f"{control.url}/alerts", json=BODY, timeout=10)),
        "query": (401, requests.post(f"{control.url}/alerts?token=x", json=BODY, timeout=10)),
        "large": (413, post(control, b" " * (256 * 1024 + 1))),
        "no length": (411, post(control, chunks())),
        "no JSON": (400, post(control, b"{")),
        "another version": (400, post(control, json.dumps(BODY | {"version": "5"}).encode())),
        "another host": (421, post(control, Host="evil.example")),
    }.values():
        assert answer.status_code == status, answer.text
    assert stored(control) == 0
    numbers = requests.get(f"{control.url}/metrics", timeout=5).text
    assert 'agency_control_refused_total{reason="token"} 4.0' in numbers
    assert 'agency_control_refused_total{reason="too-large"} 1.0' in numbers
    # A body of the limit is read; and what is right is taken.
    padded = json.dumps(BODY).encode().ljust(256 * 1024)
    assert post(control, padded).json() == {"told": 1}
    assert post(control).json() == {"told": 0}
    assert stored(control) == 1
    assert room.room_id


def test_without_a_room_it_is_to_be_delivered_again(
    make_control: Callable[..., Any], credentials: Path, wait_for: Any
) -> None:
    """The homeserver is away: nothing can be said, and nothing is taken."""
    control = make_control(credentials, alerts=True)
    control.launch()
    wait_for(control.accepts, "answer")
    assert post(control).status_code == 503
    assert stored(control) == 0


def test_without_alertmanager_there_is_no_webhook(
    homeserver: Any, make_control: Callable[..., Any], credentials: Path
) -> None:
    control = make_control(
        credentials, homeserver_url=homeserver.url, listen_port=homeserver.appservice_port
    )
    control.start()
    assert post(control).status_code == 404


def test_without_the_token_it_does_not_start(
    homeserver: Any, make_control: Callable[..., Any]
) -> None:
    control = make_control(homeserver.credentials, alerts=True)
    assert control.launch().wait(20) == 3
    assert "alertmanager-token" in control.log.read_text()


def asked() -> set[str]:
    """The control plane's numbers that rules and dashboards ask for."""
    rules = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    texts = [rule["expr"] for group in rules for rule in group["rules"]]
    texts += [path.read_text() for path in (FOLDER / "dashboards").glob("*.json")]
    return set(re.findall(r"\bagency_control_[a-z_]+", " ".join(texts)))


def test_every_number_that_is_asked_for_is_there(control: Any, room: Any) -> None:
    room.ask("!agency ping")
    text = requests.get(f"{control.url}/metrics", timeout=5).text
    there = {re.split(r"[{ ]", line)[0] for line in text.splitlines() if line[:1] != "#"}
    assert len(asked()) >= 7
    assert asked() <= there


@pytest.mark.parametrize(
    "line", ["agency_control_ready 1.0", 'agency_control_outbox{state="failed"} 0.0']
)
def test_numbers_say_what_ready_says(control: Any, room: Any, line: str) -> None:
    room.ask("!agency ping")
    text = requests.get(f"{control.url}/metrics", timeout=5).text
    assert line in text.splitlines()
    (age,) = re.findall(r"^agency_control_last_transaction_age_seconds (\S+)$", text, re.MULTILINE)
    assert 0 <= float(age) < 60
