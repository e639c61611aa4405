"""Attacks by a local user without a token: the control plane stays heard, small and quiet."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

OPEN_FILES = 256
HALF_OPEN = 300
MIB = 1024


def rss_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def lines(control: Any) -> int:
    return len(control.log.read_text().splitlines())


@pytest.fixture
def limited(control: Any) -> Any:
    """A running control plane that may open few files."""
    control.start()
    resource.prlimit(control.process.pid, resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    return control


@contextlib.contextmanager
def connections(control: Any, number: int, head: bytes) -> Iterator[list[socket.socket]]:
    """Connections that each send the beginning of a request."""
    with contextlib.ExitStack() as held:
        made = []
        for _ in range(number):
            connection = socket.create_connection(("127.0.0.1", control.config["listen_port"]), 10)
            held.enter_context(connection)
            with contextlib.suppress(OSError):
                connection.sendall(head)
            made.append(connection)
        yield made


def test_half_open_requests_do_not_make_it_deaf(
    limited: Any, stub: Any, make_event: Any, wait_for: Any
) -> None:
    before = lines(limited)
    with connections(limited, HALF_OPEN, b"GET /ready HTTP/1.1\r\nHost: localhost\r\n"):
        event = make_event("!agency ping")
        started = time.monotonic()
        assert limited.deliver([event]).status_code == 200
        wait_for(lambda: stub.replies(event["event_id"]), "reply", 15)
        seconds = time.monotonic() - started
        assert seconds < 15
        grown = lines(limited) - before
        assert grown < 100
    numbers = requests.get(f"{limited.url}/metrics", timeout=5).text
    assert 'agency_control_connections_ended_total{reason="displaced"}' in numbers


def test_connection_without_a_request_is_ended(limited: Any) -> None:
    with connections(limited, 1, b"GET / HTTP/1.1\r\n") as (slow,):
        slow.settimeout(20)
        started = time.monotonic()
        for part in (b"A: b\r\n", b"C: d\r\n"):
            time.sleep(2)
            slow.sendall(part)
        with contextlib.suppress(ConnectionResetError):
            assert slow.recv(1) == b""
        assert 8 < time.monotonic() - started < 15


def test_unfinished_headers_do_not_grow_it(limited: Any, make_event: Any) -> None:
    limited.deliver([make_event("!agency ping")])
    before = rss_kib(limited.process.pid)
    line = b"X: " + b"a" * 8000 + b"\r\n"
    head = b"GET /ready HTTP/1.1\r\n" + line * 120
    most = before
    with connections(limited, 200, head):
        for _ in range(20):
            most = max(most, rss_kib(limited.process.pid))
            time.sleep(0.05)
    assert most - before < 32 * MIB
    assert limited.deliver([make_event("!agency ping")]).status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PUT /_matrix/app/v1/transactions/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_many_bad_requests_leave_few_lines(limited: Any, sent: bytes) -> None:
    before = lines(limited)
    for _ in range(200):
        with connections(limited, 1, sent) as (one,):
            one.settimeout(5)
            one.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                one.recv(1)
    assert lines(limited) - before < 20


def test_more_busy_connections_than_it_takes_wait_for_their_turn(
    limited: Any, make_event: Any
) -> None:
    """The control: with the token, a slow body keeps its place, and the others wait."""
    head = (
        "PUT /_matrix/app/v1/transactions/slow HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {limited.token}\r\nContent-Length: 1000\r\n\r\n"
    )
    with connections(limited, 10, head.encode() + b"{"):
        assert limited.deliver([make_event("!agency ping")]).status_code == 200
