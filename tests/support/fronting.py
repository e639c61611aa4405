"""Front of a homeserver: passes every call on, keeps a note of it, and breaks where a test asks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

_PASSED = ("Authorization", "Content-Type")


@dataclass
class Front:
    """`answered` is called with method and path when the homeserver has answered; the caller gets
    that answer only if it returns true. While `away`, every call is refused with status 502, and
    one that is `broken` always."""

    upstream: str
    url: str = ""
    away: bool = False
    broken: Callable[[str, str], bool] = lambda method, path: False
    calls: list[tuple[str, str]] = field(default_factory=list)
    answered: Callable[[str, str], bool] = lambda method, path: True

    def pass_on(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
        self.calls.append((method, path))
        if self.away or self.broken(method, path):
            return 502, b"{}"
        try:
            answer = requests.request(
                method, self.upstream + path, headers=headers, data=body, timeout=60
            )
        except requests.ConnectionError:  # the homeserver is stopped
            return None
        return (answer.status_code, answer.content) if self.answered(method, path) else None


@contextmanager
def fronting(upstream: str) -> Iterator[Front]:
    """Serve a front on a free port of loopback."""
    front = Front(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            headers = {name: self.headers[name] for name in _PASSED if name in self.headers}
            found = front.pass_on(self.command, self.path, headers, self.rfile.read(size))
            if found is None:
                self.close_connection = True
                return
            status, body = found
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except ConnectionError:  # the caller was killed
                self.close_connection = True

        do_GET = do_PUT = do_POST = _pass  # noqa: N815 - the names of http.server

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    front.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield front
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
