"""What the HTTP interface of a running control plane takes, and what it refuses."""

from __future__ import annotations

import json
import secrets
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

PREFIX = "/_matrix/app/v1"


def token(credentials: Path) -> str:
    return (credentials / "matrix-hs-token").read_text().strip()


@pytest.fixture
def running(control: Any) -> Any:
    control.start()
    return control


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({}, ""),
        ({"Authorization": "Bearer wrong"}, ""),
        ({"Authorization": "Bearer "}, ""),
        ({"Authorization": "RIGHT"}, ""),
        ({"Authorization": "bearer RIGHT"}, ""),
        ({"Authorization": "Bearer RIGHTx"}, ""),
        ({"Authorization": "Bearer AS"}, ""),
        ({"Authorization": "Bearer \xe9\xff"}, ""),
        ({}, "?access_token=RIGHT"),
        ({"Authorization": "Bearer RIGHT"}, "?access_token=RIGHT"),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", f"{PREFIX}/transactions/1"),
        ("POST", f"{PREFIX}/ping"),
        ("GET", f"{PREFIX}/users/@agency:agency.example"),
        ("GET", f"{PREFIX}/rooms/%23control:agency.example"),
        ("GET", f"{PREFIX}/nothing"),
    ],
)
def test_only_the_homeserver_is_let_in(
    shared: Any,
    headers: dict[str, str],
    query: str,
    method: str,
    path: str,
) -> None:
    right = token(shared.credentials)
    other = (shared.credentials / "matrix-as-token").read_text().strip()
    given = {
        key: value.replace("RIGHT", right).replace("AS", other).encode("latin-1")
        for key, value in headers.items()
    }
    answer = requests.request(
        method,
        shared.url + path + query.replace("RIGHT", right),
        headers=given,
        json={"events": []},
        timeout=5,
    )
    assert (answer.status_code, answer.json()["errcode"]) == (403, "M_FORBIDDEN")
    assert right not in answer.text


def test_homeserver_is_let_in(shared: Any) -> None:
    headers = {"Authorization": f"Bearer {token(shared.credentials)}"}

    def ask(method: str, path: str) -> tuple[int, Any]:
        answer = requests.request(
            method, shared.url + PREFIX + path, headers=headers, json={"events": []}, timeout=5
        )
        return answer.status_code, answer.json()

    assert ask("PUT", "/transactions/1") == (200, {})
    assert ask("POST", "/ping") == (200, {})
    assert ask("GET", "/users/@agency:agency.example") == (200, {})
    assert ask("GET", "/users/@agent-pm:agency.example") == (200, {})
    assert ask("GET", "/users/@agent-none:agency.example")[0] == 404
    assert ask("GET", "/rooms/%23control:agency.example") == (200, {})
    assert ask("GET", "/rooms/%23other:agency.example")[1]["errcode"] == "M_NOT_FOUND"
    assert ask("GET", "/transactions/1")[0] == 405
    assert ask("GET", "/none")[1]["errcode"] == "M_UNRECOGNIZED"
    assert ask("PUT", "/transactions/" + "x" * 300)[0] == 400


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        (b"", "M_NOT_JSON"),
        (b"{", "M_NOT_JSON"),
        (b'{"events": [NaN]}', "M_NOT_JSON"),
        (b"\xff\xfe", "M_NOT_JSON"),
        (b"[" * 100_000, "M_NOT_JSON"),
        (b'{"events": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", "M_NOT_JSON"),
        (b"1" * 10_000, "M_NOT_JSON"),
        (b"[]", "M_BAD_JSON"),
        (b"null", "M_BAD_JSON"),
        (b"{}", "M_BAD_JSON"),
        (b'{"events": {}}', "M_BAD_JSON"),
        (b'{"events": null}', "M_BAD_JSON"),
    ],
)
def test_malformed_transaction_is_refused(shared: Any, body: bytes, errcode: str) -> None:
    answer = requests.put(
        f"{shared.url}{PREFIX}/transactions/1",
        data=body,
        headers={"Authorization": f"Bearer {token(shared.credentials)}"},
        timeout=5,
    )
    assert (answer.status_code, answer.json()["errcode"]) == (400, errcode)


def test_large_transaction_is_refused(
    make_control: Any, credentials: Path, stub: Any, make_event: Any
) -> None:
    limits = {"max_transaction_bytes": 20_000}
    control = make_control(credentials, homeserver_url=stub.url, limits=limits)
    control.start()
    answer = control.deliver([make_event("x" * 20_000)])
    assert (answer.status_code, answer.json()["errcode"]) == (413, "M_TOO_LARGE")
    assert "refused a transaction" in control.log.read_text(), "or nobody learns why it is silent"
    assert control.deliver([make_event("x" * 15_000)]).status_code == 200


def test_full_inbox_asks_to_deliver_again(
    make_control: Any, credentials: Path, stub: Any, make_event: Any, wait_for: Any
) -> None:
    limits = {"max_inbox": 2}
    control = make_control(credentials, homeserver_url=stub.url, limits=limits)
    stub.fail("directory", times=1000, status=503)
    control.launch()
    wait_for(control.accepts, "server")
    assert control.deliver([make_event("!agency ping")]).status_code == 200
    assert control.deliver([make_event("!agency ping")]).status_code == 200
    late = make_event("!agency version")
    answer = control.deliver([late], txn="late")
    assert (answer.status_code, answer.json()["errcode"]) == (503, "M_LIMIT_EXCEEDED")
    stub.mend()
    wait_for(lambda: len(stub.posted) == 2, "replies")
    assert control.deliver([late], txn="late").status_code == 200
    wait_for(lambda: stub.replies(late["event_id"]), "reply to the late one")


def test_redelivery_at_the_same_time_runs_once(
    running: Any, stub: Any, make_event: Any, wait_for: Any
) -> None:
    events = [make_event("!agency ping") for _ in range(3)]

    def deliver(number: int) -> int:
        return int(running.deliver(events, txn=f"txn-{number % 4}").status_code)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(deliver, range(24))) == {200}
    wait_for(lambda: len(stub.posted) >= 3, "replies")
    marker = make_event("!agency version")
    running.deliver([marker])
    wait_for(lambda: stub.replies(marker["event_id"]), "reply behind them")
    assert len(stub.posted) == 4
    assert [row["action"] for row in running.audit()][1:] == ["ping"] * 3 + ["version"]


def test_malformed_events_do_not_hold_up_the_others(
    running: Any, stub: Any, make_event: Any, wait_for: Any
) -> None:
    good = make_event("!agency ping")
    bad: list[Any] = [
        None,
        5,
        {},
        {**good, "event_id": None},
        {**good, "sender": {"a": 1}},
        {**good, "origin_server_ts": "soon"},
        {**good, "content": []},
        {**good, "type": ["m.room.message"]},
        {**good, "event_id": "$x\ud800"},
    ]
    assert running.deliver([*bad, good, *bad]).status_code == 200
    wait_for(lambda: stub.replies(good["event_id"]), "reply")
    assert len(stub.posted) == 1


def test_body_that_never_ends_does_not_hold_up_the_others(shared: Any, make_event: Any) -> None:
    with socket.create_connection(("127.0.0.1", shared.config["listen_port"])) as slow:
        head = (
            f"PUT {PREFIX}/transactions/slow HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {token(shared.credentials)}\r\nContent-Length: 1000\r\n\r\n{{"
        )
        slow.sendall(head.encode())
        assert shared.deliver([make_event("!agency ping")]).status_code == 200


def test_nothing_secret_or_said_is_in_the_log(
    running: Any, stub: Any, credentials: Path, make_event: Any, wait_for: Any
) -> None:
    canary = f"canary-{secrets.token_hex(8)}"
    event = make_event(f"!agency agents start {canary}")
    running.deliver([event, make_event(f"{canary} !"), make_event(f"!agency {canary}")])
    running.deliver([make_event("!agency ping")], token=canary)
    requests.put(f"{running.url}{PREFIX}/transactions/{canary}?access_token={canary}", timeout=5)
    stub.fail("/send/", status=500, body={"errcode": "M_UNKNOWN", "error": "no"})
    wait_for(lambda: stub.replies(event["event_id"]), "reply")
    assert running.stop() == 0
    log = running.log.read_text()
    for name in ("matrix-as-token", "matrix-hs-token"):
        assert (credentials / name).read_text().strip() not in log
    assert canary not in log
    for line in log.splitlines():
        assert {"time", "level", "message"} <= set(json.loads(line))
    everything = b"".join(path.read_bytes() for path in running.place.glob("control.db*"))
    for name in ("matrix-as-token", "matrix-hs-token"):
        assert (credentials / name).read_bytes().strip() not in everything
