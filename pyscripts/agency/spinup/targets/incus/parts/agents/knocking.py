"""Attempts of several users at an agent's gateway and at the proxy; runs in the guest by itself.

It gets the attempts as JSON on standard input, tokens among them, and prints what came of each.
"""

from __future__ import annotations

import http.client
import json
import socket
import sys
from pathlib import Path
from typing import Any

_TIME_S = 10.0
_LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


class _Unix(http.client.HTTPConnection):
    """Connection to a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIME_S)
        self._path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIME_S)
        self.sock.connect(self._path)


def knock(attempt: dict[str, Any]) -> dict[str, Any]:
    """Make one attempt: `read` a file, or ask at a `socket` or a `port`."""
    try:
        if "read" in attempt:
            return {"outcome": "read", "bytes": len(Path(attempt["read"]).read_bytes())}
        return {"outcome": "answered", "status": _ask(attempt)}
    except OSError as error:
        return {"outcome": "refused", "reason": type(error).__name__}


def _ask(attempt: dict[str, Any]) -> int:
    token = attempt.get("token", "")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if "socket" in attempt:
        connection: http.client.HTTPConnection = _Unix(attempt["socket"])
        headers |= {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
        }
        connection.request("POST", "/mcp", json.dumps(_LIST), headers)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", attempt["port"], timeout=_TIME_S)
        connection.request("GET", "/v1/models", headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status


def main() -> None:
    """Make all attempts."""
    print(json.dumps([knock(each) for each in json.load(sys.stdin)]))  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
