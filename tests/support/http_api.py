"""The HTTP interface of a control plane as a person's program uses it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import requests
from entering import socket_of

from agency import ports
from agency.clock import Clock, new_id
from agency.control.entrance.client import ask
from agency.control.entrance.words import text_of_argv
from agency.control.kept.minting import digest_of, new_token
from agency.protocols import CommandRequest

ALICE, BOB = "@alice:agency.example", "@bob:agency.example"
CAROL, VERA = "@carol:agency.example", "@vera:agency.example"


def with_api(**api: Any) -> dict[str, Any]:
    """Changes of a configuration: people with roles, a gated command, and an HTTP interface."""
    return {
        "operators": [ALICE, BOB],
        "approvers": [CAROL],
        "viewers": [VERA],
        "approvals": {"rules": [{"name": "holds", "commands": ["agents disable"]}]},
        "api": {"listen_port": ports.assign(("api",), {})["api"], **api},
    }


@dataclass(frozen=True)
class Client:
    """A person's program: where it asks, and its token."""

    url: str
    token: str

    def ask(self, method: str, path: str, **more: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token}", **more.pop("headers", {})}
        return requests.request(
            method, f"{self.url}/api/v1{path}", headers=headers, timeout=40,
            allow_redirects=False, **more,
        )  # fmt: skip

    def get(self, path: str, **more: Any) -> requests.Response:
        return self.ask("GET", path, **more)

    def give(self, command: str | list[str], key: str, **more: Any) -> requests.Response:
        return self.ask("POST", "/operations", json={"command": command, "key": key, **more})

    def events(self, operation: str, last: str = "") -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Kind, id and data of each event, until the stream ends."""
        headers = {"Last-Event-ID": last} if last else {}
        with self.get(f"/operations/{operation}/events", headers=headers, stream=True) as answer:
            assert answer.status_code == 200, answer.text
            fields: dict[str, str] = {}
            for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif "data" in fields:
                    yield fields["event"], fields["id"], json.loads(fields["data"])
                    fields = {}


def url_of(control: Any) -> str:
    return f"http://127.0.0.1:{control.config['api']['listen_port']}"


def token_for(control: Any, person: str, role: str = "operator", days: int = 1) -> str:
    """Put a new token on record, as root does."""
    token = new_token()
    words = ("tokens", "create", f"sha256:{digest_of(token)}", f"--role={role}", f"--days={days}")
    text = text_of_argv((*words, f"--person={person}"))
    now_ms = Clock().now_ms()
    request = CommandRequest(id=new_id("c"), command=text, sent_ts=now_ms, wait_s=20)
    told = asyncio.run(ask(socket_of(control), request, print, clock=Clock()))
    assert told.outcome == "done", told
    return token


def client_for(control: Any, person: str, role: str = "operator") -> Client:
    return Client(url_of(control), token_for(control, person, role))
