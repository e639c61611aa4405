"""A homeserver for the faults that a real one does not make on demand.

It knows just what the control plane calls, and remembers what was posted, once per transaction id.
"""

from __future__ import annotations

import itertools
import json
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from agency.matrix import power_levels

ROOM = "!control:agency.example"
BOT = "@agency:agency.example"


@dataclass
class Fault:
    """What to do instead of answering: a status with a body, or a connection that is closed."""

    status: int | None = None
    body: dict[str, Any] = field(default_factory=dict)
    after_posting: bool = False
    hang: threading.Event | None = None


@dataclass
class StubHomeserver:
    """Its state, and the faults that are still to be made, by a part of the path."""

    posted: dict[str, dict[str, Any]] = field(default_factory=dict)
    attempts: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    notices: list[dict[str, Any]] = field(default_factory=list)  # of what degrades and heals
    calls: list[str] = field(default_factory=list)
    faults: list[tuple[str, Fault]] = field(default_factory=list)
    remembers_transactions: bool = True
    lock: threading.Lock = field(default_factory=threading.Lock)
    server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        assert self.server is not None
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def fail(self, part: str, times: int = 1, **fault: Any) -> None:
        """Let the next calls whose path holds `part` fail; see `Fault`."""
        with self.lock:
            self.faults += [(part, Fault(**fault)) for _ in range(times)]

    def mend(self) -> None:
        """Make no more faults; calls that hang go on."""
        with self.lock:
            self.faults.clear()

    def replies(self, event_id: str) -> list[dict[str, Any]]:
        """What was posted in answer to an event, without the status card of a slow change."""
        told = [(each.get("org.agency.reply", {}), each) for each in list(self.posted.values())]
        return [
            content
            for reply, content in told
            if reply.get("command") == event_id and "card" not in reply
        ]

    def fault_for(self, path: str) -> Fault | None:
        with self.lock:
            self.calls.append(path)
            for index, (part, fault) in enumerate(self.faults):
                if part in path:
                    del self.faults[index]
                    return fault
        return None

    def post(self, txn: str, content: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            key = txn if self.remembers_transactions else f"{txn}#{len(self.posted)}"
            event_id = f"$reply-{key}"
            if "org.agency.reply" not in content:
                self.notices.append(content)
                return {"event_id": event_id}
            self.attempts.append((txn, content))
            self.posted.setdefault(event_id, content)
            return {"event_id": event_id}

    def answer(self, method: str, path: str, body: Any) -> tuple[int, dict[str, Any]]:
        """What a homeserver would say."""
        parts = [unquote(part) for part in path.strip("/").split("/")]
        what = parts[3:] if parts[:2] == ["_matrix", "client"] else parts
        fixed: dict[str, dict[str, Any]] = {
            "register": {"user_id": "@x:agency.example"},
            "directory": {"room_id": ROOM},
            "join": {"room_id": ROOM},
            "account": {"user_id": BOT},
            "joined_rooms": {"joined_rooms": [ROOM]},
            "appservice": {"duration_ms": 1},
        }
        if what[0] in fixed:
            return 200, fixed[what[0]]
        if what[0] == "rooms" and what[2] == "send":
            return 200, self.post(what[4], body)
        if what[0] == "rooms" and what[2] == "members":
            return 200, {"chunk": []}
        if what[0] == "rooms" and what[2] == "relations":
            events = [
                {"event_id": event_id, "sender": BOT, "content": content}
                for event_id, content in self.posted.items()
                if content.get("m.relates_to", {}).get("event_id") == what[3]
            ]
            return 200, {"chunk": events}
        if what[0] == "rooms" and what[2:] == ["state"]:
            return 200, _state()
        if what[0] == "rooms" and what[2:4] == ["state", "m.room.power_levels"]:
            return 200, {}
        if what[0] == "rooms" and what[2] == "state":
            return 404, {"errcode": "M_NOT_FOUND"}
        return 200, {}


def serve(stub: StubHomeserver) -> Callable[[], None]:
    """Serve; returns what ends it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size) or b"null")
            path = urlsplit(self.path).path
            assert "access_token" not in parse_qs(urlsplit(self.path).query)
            fault = stub.fault_for(path)
            if fault is None:
                self.reply(*stub.answer(self.command, path, body))
                return
            if fault.after_posting:
                stub.answer(self.command, path, body)
            if fault.hang is not None:
                fault.hang.wait(30)
            if fault.status is None:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.reply(fault.status, fault.body)

        do_GET = do_PUT = do_POST = handle_any  # noqa: N815 - the base class' names

        def reply(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # the other side was killed, which is what some tests are for

    stub.server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=stub.server.serve_forever, daemon=True)
    thread.start()

    def stop() -> None:
        assert stub.server is not None
        stub.server.shutdown()
        stub.server.server_close()
        thread.join()

    return stop


@pytest.fixture
def stub() -> Iterator[StubHomeserver]:
    """The stub, serving."""
    made = StubHomeserver()
    stop = serve(made)
    yield made
    stop()


@pytest.fixture(scope="module")
def shared_changes() -> dict[str, Any]:
    """Changes to the configuration of the control plane that a module shares."""
    return {}


@pytest.fixture(scope="module")
def shared(
    make_shared_control: Any,
    tmp_path_factory: pytest.TempPathFactory,
    shared_changes: dict[str, Any],
) -> Iterator[Any]:
    """A running control plane for tests that leave it as it was."""
    made = StubHomeserver()
    stop = serve(made)
    credentials = make_credentials(tmp_path_factory.mktemp("credentials"))
    control = make_shared_control(credentials, homeserver_url=made.url, **shared_changes)
    control.start()
    yield control
    control.stop()
    stop()


def _state() -> Any:
    """The state of the control room: the bot made it and is in it, and nobody else is."""
    levels = power_levels(BOT, ["@alice:agency.example"], creator_is_listed=False)
    return [
        {"type": kind, "state_key": key, "sender": BOT, "event_id": f"${kind}", "content": content}
        for kind, key, content in (
            ("m.room.create", "", {"room_version": "12"}),
            ("m.room.member", BOT, {"membership": "join"}),
            ("m.room.power_levels", "", levels),
        )
    ]


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    """A directory with the two tokens."""
    place = tmp_path / "credentials"
    place.mkdir(mode=0o700)
    return make_credentials(place)


def make_credentials(place: Path) -> Path:
    """Fresh tokens in a directory."""
    for name in ("as", "hs"):
        (place / f"matrix-{name}-token").write_text(f"{name}-{secrets.token_hex(16)}\n")
    return place


@pytest.fixture
def control(stub: StubHomeserver, make_control: Any, credentials: Path) -> Any:
    """A control plane for the stub, not started."""
    return make_control(credentials, homeserver_url=stub.url)


@pytest.fixture
def make_event() -> Callable[..., dict[str, Any]]:
    """Makes messages of the operator in the control room."""
    numbers = itertools.count(1)

    def make(text: str, **changes: Any) -> dict[str, Any]:
        return {
            "type": "m.room.message",
            "event_id": f"$event-{next(numbers)}",
            "room_id": ROOM,
            "sender": "@alice:agency.example",
            "origin_server_ts": int(time.time() * 1000),
            "content": {"msgtype": "m.text", "body": text},
            **changes,
        }

    return make
