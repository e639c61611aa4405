"""The client of the HTTP interface, against servers that answer wrongly, late or elsewhere."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from agency.control.entrance.http_client import (
    ApiClient,
    LostError,
    RefusedByApiError,
    checked_url,
    read_token,
)
from agency.control.kept.minting import new_token
from agency.errors import AgencyError, PrerequisiteError, UsageError

END = {"id": "op-1", "state": "done", "final": True}


class Server:
    """A server that gives one answer after another, and remembers what was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.asked.append((self.command, self.path, dict(self.headers), body))
                status, headers, data = outer.answers.pop(0)
                if status == 0:
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in {"Content-Length": str(len(data)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = _any  # noqa: N815 - the base class' names

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def will(self, status: int, told: Any = None, **headers: str) -> None:
        data = told if isinstance(told, bytes) else json.dumps(told).encode()
        self.answers.append((status, {k.replace("_", "-"): v for k, v in headers.items()}, data))


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.server.shutdown()
    made.server.server_close()


class Patience:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def client_of(server: Server, patience: Patience) -> ApiClient:
    return ApiClient(server.url, new_token(), lambda: patience.now, patience.sleep)


def give(client: ApiClient, until: float = 60) -> dict[str, Any]:
    return client.give("!agency ping", "key", 1, until)


def test_a_redirect_takes_the_token_nowhere(server: Server) -> None:
    other = Server()
    try:
        server.will(307, {}, Location=f"{other.url}/api/v1/operations")
        with pytest.raises(PrerequisiteError, match="not a control plane's: HTTP 307"):
            give(client_of(server, Patience()))
        assert other.asked == []
        assert "Authorization" in server.asked[0][2], "positive control"
    finally:
        other.server.shutdown()
        other.server.server_close()


def test_it_comes_again_when_told_to_with_the_same_key(server: Server) -> None:
    server.will(429, {"detail": "later"}, Retry_After="7")
    server.will(503, {"detail": "later"})
    server.will(0)
    server.will(200, END)
    patience = Patience()
    assert give(client_of(server, patience)) == END
    assert patience.slept == [7.0, 0.5, 0.5]
    assert len({body for *_, body in server.asked}) == 1
    assert json.loads(server.asked[0][3]) == {
        "command": "!agency ping", "key": "key", "sent_ts": 1,
    }  # fmt: skip


def test_its_patience_ends(server: Server) -> None:
    for _ in range(3):
        server.will(503, {"detail": "later"}, Retry_After="20")
    with pytest.raises(LostError):
        give(client_of(server, Patience()), until=45)


@pytest.mark.parametrize(
    ("status", "told", "error"),
    [
        (200, b"<html>", PrerequisiteError),
        (200, [], PrerequisiteError),
        (401, {"detail": "no"}, PrerequisiteError),
        (403, {"detail": "no"}, RefusedByApiError),
        (404, b"not found", PrerequisiteError),
        (422, {"detail": "no"}, RefusedByApiError),
    ],
)
def test_other_answers_are_told_apart(
    server: Server, status: int, told: Any, error: type[AgencyError]
) -> None:
    server.will(status, told)
    with pytest.raises(error):
        give(client_of(server, Patience()))
    assert len(server.asked) == 1


def stream(*events: tuple[str, str, Any]) -> bytes:
    return b"".join(
        f": still here\n\nevent: {kind}\nid: {last}\ndata: {json.dumps(data)}\n\n".encode()
        for kind, last, data in events
    )


def test_a_stream_that_breaks_is_taken_up_where_it_was(server: Server) -> None:
    server.will(200, stream(("report", "1.", {"number": 1, "text": "one"})))
    server.will(503, {"detail": "it starts"})
    server.will(
        200,
        stream(("report", "2.running", {"number": 2, "text": "two"}), ("end", "2.done", END)),
    )
    told: list[str] = []
    ended = client_of(server, Patience()).follow("op-1", told.append, 60)
    assert (ended, told) == (END, ["one", "two"])
    assert [asked[2].get("Last-Event-ID") for asked in server.asked] == [None, "1.", "1."]


def test_a_stream_without_an_end_is_left_when_the_time_is_over(server: Server) -> None:
    for _ in range(10):
        server.will(200, stream(("state", "0.granted", {"state": "granted"})))
    assert client_of(server, Patience()).follow("op-1", lambda _text: None, 2) is None


@pytest.mark.parametrize(
    "url",
    [
        "agency.example", "ftp://agency.example", "http://agency.example", "http://10.0.0.1:1",
        "https://eve:pw@agency.example", "https://agency.example?token=x", "https://", "http:///x",
        "http://localhost.agency.example", "https://agency.example#x",
    ],
)  # fmt: skip
def test_where_no_token_is_sent(url: str) -> None:
    with pytest.raises(UsageError):
        checked_url(url)


@pytest.mark.parametrize(
    "url", ["https://agency.example", "http://127.0.0.1:8009", "http://[::1]:1", "http://localhost"]
)
def test_where_one_may_be(url: str) -> None:
    assert checked_url(f"{url}/") == url


def test_files_that_hold_a_token(tmp_path: Path) -> None:
    file, token = tmp_path / "token", new_token()
    with pytest.raises(PrerequisiteError):
        read_token(file)
    file.write_text(f"{token}\n")
    file.chmod(0o600)
    assert read_token(file) == token
    for mode in (0o640, 0o604, 0o620):
        file.chmod(mode)
        with pytest.raises(AgencyError, match="others can read"):
            read_token(file)
    file.chmod(0o600)
    file.write_text("hunter2")
    with pytest.raises(AgencyError, match="holds no token") as caught:
        read_token(file)
    assert "hunter2" not in str(caught.value)
