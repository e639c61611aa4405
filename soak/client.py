"""A Matrix client that outlasts its homeserver: every call is tried until it is answered."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import aiohttp

_LIMIT = aiohttp.ClientTimeout(total=60)
_CLIENT = "/_matrix/client/v3"


class RefusedError(Exception):
    """The homeserver refuses a call, and will again."""


def segment(text: str) -> str:
    """Quote a part of a path whole."""
    return quote(text, safe="")


@dataclass(slots=True)
class Client:
    """One logged-in user. A transaction id makes each retry of a message the same message."""

    url: str
    http: aiohttp.ClientSession
    name: str
    token: str = ""
    _txns: Iterator[int] = field(default_factory=itertools.count)

    async def call(self, method: str, path: str, body: Any = None, **query: str) -> dict[str, Any]:
        """Make one call, as often as it takes.

        Raises:
            RefusedError: it is refused.
        """
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        while True:
            try:
                async with self.http.request(
                    method,
                    self.url + path,
                    json=body,
                    params=query,
                    headers=headers,
                    timeout=_LIMIT,
                ) as answer:
                    found = await answer.json(content_type=None)
                    if answer.status == 200:
                        return dict(found)
                    if answer.status not in (429, 500, 502, 503, 504):
                        raise RefusedError(f"{method} {path}: {answer.status} {found}")
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
                pass
            await asyncio.sleep(0.3)

    async def register(self, shared_secret: str) -> None:
        """Make the user, by the shared secret of the homeserver."""
        path = "/_synapse/admin/v1/register"
        nonce = str((await self.call("GET", path))["nonce"])
        password = hashlib.sha256(f"{shared_secret}{self.name}".encode()).hexdigest()
        text = "\0".join([nonce, self.name, password, "notadmin"]).encode()
        mac = hmac.new(shared_secret.encode(), text, hashlib.sha1).hexdigest()
        body = {"nonce": nonce, "username": self.name, "password": password, "mac": mac}
        answer = await self.call("POST", path, {**body, "admin": False})
        self.token = str(answer["access_token"])

    async def join(self, room: str) -> str:
        """Join a room by id or alias; returns its id."""
        return str((await self.call("POST", f"{_CLIENT}/join/{segment(room)}", {}))["room_id"])

    async def send(self, room: str, content: dict[str, Any]) -> str:
        """Send a message; returns its event id."""
        txn = f"{self.name}-{next(self._txns)}"
        path = f"{_CLIENT}/rooms/{segment(room)}/send/m.room.message/{txn}"
        return str((await self.call("PUT", path, {"msgtype": "m.text", **content}))["event_id"])

    async def redact(self, room: str, event_id: str) -> None:
        """Take a message back."""
        txn = f"{self.name}-{next(self._txns)}"
        path = f"{_CLIENT}/rooms/{segment(room)}/redact/{segment(event_id)}/{txn}"
        await self.call("PUT", path, {})

    async def history(self, room: str) -> AsyncIterator[dict[str, Any]]:
        """Yield the events of a room, the newest first."""
        path, token = f"{_CLIENT}/rooms/{segment(room)}/messages", ""
        while True:
            query = {"dir": "b", "limit": "500"} | ({"from": token} if token else {})
            page = await self.call("GET", path, **query)
            for event in page["chunk"]:
                yield event
            if not page.get("end") or not page["chunk"]:
                return
            token = str(page["end"])
