"""Answers to strangers and to the holder of the token, and reports of refusals."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import requests

PREFIX = "/_matrix/app/v1"


def deliver_raw(control: Any, body: bytes, token: str | None = None) -> requests.Response:
    return requests.put(
        f"{control.url}{PREFIX}/transactions/raw",
        data=body,
        headers={"Authorization": f"Bearer {token or control.token}"},
        timeout=5,
    )


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}])
def test_strangers_learn_one_word(shared: Any, headers: dict[str, str]) -> None:
    answer = requests.get(f"{shared.url}/ready", headers=headers, timeout=5)
    assert (answer.status_code, answer.json()) == (200, {"ready": True})
    assert answer.headers["Connection"] == "close", "a stranger keeps no connection"


def test_token_opens_the_details(shared: Any) -> None:
    body = shared.ready().json()
    assert body["ready"] is True
    assert body["reasons"] == []
    assert {"versions", "room", "audit", "warnings", "acknowledged"} <= set(body)


@pytest.mark.parametrize("path", ["/ready", "/metrics", "/health"])
@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 421),
        ("evil.example:8010", 421),
        ("10.0.0.1", 421),
        ("localhost.evil.example", 421),
        ("[::1", 421),
        ("", 421),
        ("localhost", 200),
        ("localhost:8010", 200),
        ("127.0.0.1", 200),
        ("[::1]:8010", 200),
    ],
)
def test_only_its_own_names_are_answered(shared: Any, path: str, host: str, status: int) -> None:
    with socket.create_connection(("127.0.0.1", shared.config["listen_port"]), 5) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        said = connection.recv(4096)
    assert int(said.split()[1]) in (status, 400 if status == 421 else status)


def test_numbers_hold_no_names(shared: Any) -> None:
    answer = requests.get(f"{shared.url}/metrics", timeout=5)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    for hidden in (shared.token, "agency.example", "!control", "alice", "pm"):
        assert hidden not in answer.text.replace("agency_control", "")


@pytest.mark.parametrize("body", [b"{", b"{}", b"x" * 40_000])
def test_refused_transaction_is_a_reason_until_one_is_taken(
    make_control: Any, credentials: Path, stub: Any, make_event: Any, body: bytes
) -> None:
    control = make_control(
        credentials, homeserver_url=stub.url, limits={"max_transaction_bytes": 20_000}
    )
    control.start()
    refused = deliver_raw(control, body)
    assert refused.status_code in (400, 413)
    answer = control.ready()
    assert answer.status_code == 503
    assert f"HTTP {refused.status_code}" in answer.json()["reasons"][0]
    kind = "malformed" if refused.status_code == 400 else "too-large"
    numbers = requests.get(f"{control.url}/metrics", timeout=5).text
    assert f'agency_control_refused_total{{reason="{kind}"}} 1.0' in numbers
    assert control.deliver([make_event("hello")]).status_code == 200
    assert control.ready().json()["reasons"] == []


def test_stranger_cannot_make_it_unready(control: Any, stub: Any) -> None:
    control.start()
    for body in (b"{", b"x" * 100):
        assert deliver_raw(control, body, token="wrong").status_code == 403
    assert control.ready().status_code == 200
    numbers = requests.get(f"{control.url}/metrics", timeout=5).text
    assert 'agency_control_refused_total{reason="token"} 2.0' in numbers
    assert control.log.read_text().count("refused a request") == 1, "one line a minute"


def test_malformed_event_is_audited_and_warned_of_until_acknowledged(
    control: Any, stub: Any, make_event: Any, wait_for: Any
) -> None:
    control.start()
    for _ in range(3):
        assert control.deliver([None, {"type": "m.room.message"}]).status_code == 200
    (warning,) = control.ready().json()["warnings"]
    assert warning["code"] == "events-dropped"
    assert control.ready().status_code == 200, "a warning is no 503"
    rows = [row for row in control.audit() if row["action"] == "events dropped"]
    assert len(rows) == 3
    wait_for(lambda: [n for n in stub.notices if "Degraded" in n["body"]], "notice")
    assert control.stop() == 0
    control.start()
    assert control.ready().json()["warnings"] == [warning], "it is kept across a restart"

    seen = make_event("!agency warnings acknowledge events-dropped")
    control.deliver([seen])
    assert wait_for(lambda: stub.replies(seen["event_id"]), "reply")[0]["org.agency.reply"]["ok"]
    assert control.ready().json()["warnings"] == []
    wait_for(lambda: "true" in str(control.query("SELECT value FROM meta")), "kept state")
    assert control.stop() == 0
    control.start()
    body = control.ready().json()
    assert (body["warnings"], len(body["acknowledged"])) == ([], 1)
    assert len(stub.notices) == 1, "told once"
