"""A stand-in homeserver that does what a test tells it, for faults that a real one seldom has."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from agency.control.login import Login

ROOM = "!room:agency.example"
USER = "@alice:agency.example"
BOT = "@agency:agency.example"
COMMAND = "$command"

Answer = tuple[int, Any]


def reply(ok: bool = True, **changes: Any) -> dict[str, Any]:
    """The bot's final reply to COMMAND, with some parts of it changed."""
    event: dict[str, Any] = {
        "type": "m.room.message",
        "event_id": "$reply",
        "sender": BOT,
        "content": {
            "msgtype": "m.notice",
            "body": "pm runs.",
            "m.relates_to": {"rel_type": "m.thread", "event_id": COMMAND},
            "org.agency.reply": {"command": COMMAND, "trace": "t-1", "ok": ok, "final": True},
        },
    }
    content = {**event["content"], **changes.pop("content", {})}
    return {**event, **changes, "content": content}


@dataclass
class Request:
    """What the stand-in was asked."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    token: str | None


@dataclass
class StandIn:
    """Answers PUT /send by `on_send`, GET /sync by `on_sync`, GET /relations by `on_relations`.

    Each is called with the number of such requests so far, from 0; a bytes answer is sent raw.
    """

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=lambda: [reply()])
    on_send: Callable[[int], Answer] = lambda number: (200, {"event_id": COMMAND})
    on_sync: Callable[[int], Answer] | None = None
    stall: threading.Event | None = None  # what is waited for between head and body
    on_alias: Answer = (404, {"errcode": "M_NOT_FOUND"})
    on_relations: Callable[[int], Answer] = lambda number: (200, {"chunk": []})

    def of(self, method: str, word: str) -> list[Request]:
        """The requests of a method whose path holds a word."""
        return [each for each in self.requests if each.method == method and word in each.path]

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        if request.method == "PUT":
            return self.on_send(len(self.of("PUT", "/send/")) - 1)
        if "/directory/room/" in request.path:
            return self.on_alias
        if "/join/" in request.path:
            return 200, {"room_id": "!new:agency.example"}
        if "/relations/" in request.path:
            return self.on_relations(len(self.of("GET", "/relations/")) - 1)
        number = len(self.of("GET", "/sync")) - 1
        if self.on_sync is not None:
            return self.on_sync(number)
        return 200, sync(number, self.events if number else [])

    @property
    def login(self) -> Login:
        return Login(
            homeserver=self.url, user_id=USER, access_token="token-of-alice", control_room=ROOM
        )


def sync(number: int, events: list[Any], *, limited: bool = False) -> dict[str, Any]:
    """A sync answer that brings `events`."""
    timeline = {"events": events, "limited": limited}
    return {"next_batch": f"s{number}", "rooms": {"join": {ROOM: {"timeline": timeline}}}}


@pytest.fixture
def homeserver() -> Iterator[StandIn]:
    """A stand-in on loopback."""
    stand_in = StandIn()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length)) if length else None
            query = {key: value[0] for key, value in parse_qs(parts.query).items()}
            request = Request(
                self.command, parts.path, query, body, self.headers.get("Authorization")
            )
            status, answer = stand_in.answer(request)
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            if status == 302:
                self.send_header("Location", f"{stand_in.url}{unquote(parts.path)}/elsewhere")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if stand_in.stall is not None and request.method == "PUT":
                self.wfile.flush()
                stand_in.stall.wait(10)
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = handle_any  # noqa: N815 - the library's names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stand_in.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield stand_in
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def likeness() -> Callable[..., dict[str, Any]]:
    """Makes replies, as `reply` does."""
    return reply


@pytest.fixture
def answer_sync() -> Callable[..., dict[str, Any]]:
    """Makes sync answers, as `sync` does."""
    return sync
