"""A person at a Matrix client: logs in, joins, says things, and reads what comes back."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import aiohttp
from mautrix.api import HTTPAPI, Method, Path
from mautrix.errors import MatrixError, MLimitExceeded

from agency.errors import AgencyError
from agency.secrets.values import SecretValue

REPLY_KEY = "org.agency.reply"
_PATIENCE_S = 0.5
_REGISTER_S = 30.0
Event = dict[str, Any]


class ConversationError(AgencyError):
    """The homeserver or the control plane did not answer as a person may expect."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The control plane's answer to one command."""

    event_id: str
    command: str
    body: str
    ok: bool
    trace: str
    sender: str


async def create_account(
    session: aiohttp.ClientSession,
    homeserver: str,
    localpart: str,
    password: SecretValue,
    shared_secret: SecretValue,
) -> None:
    """Register a user with Synapse's shared-secret admin API.

    Source: Synapse documentation, "Shared-Secret Registration".

    Raises:
        ConversationError: the homeserver refused, or does not answer as it should.
    """
    url = f"{homeserver}/_synapse/admin/v1/register"
    try:
        async with asyncio.timeout(_REGISTER_S):
            async with session.get(url) as answer:
                nonce = str((await answer.json())["nonce"])
            body = _registration(nonce, localpart, password, shared_secret)
            async with session.post(url, json=body) as answer:
                refusal = None if answer.status == 200 else await _refusal(answer)
    except TimeoutError as error:
        raise ConversationError(
            f"registering {localpart}: no answer within {_REGISTER_S:g} s", where=url
        ) from error
    except (aiohttp.ClientError, KeyError, TypeError, ValueError) as error:
        raise ConversationError(
            f"registering {localpart}: {type(error).__name__}: {error}", where=url
        ) from error
    if refusal is not None:
        raise ConversationError(f"registering {localpart}: {refusal}", where=url)


async def _refusal(answer: aiohttp.ClientResponse) -> str:
    try:
        problem = await answer.json(content_type=None)
    except ValueError:  # not of Synapse itself
        problem = None
    code = problem.get("errcode") if isinstance(problem, dict) else None
    return f"HTTP {answer.status} {code or 'without a reason'}"


def _registration(
    nonce: str, localpart: str, password: SecretValue, shared_secret: SecretValue
) -> dict[str, Any]:
    mac = hmac.new(shared_secret.reveal().encode(), digestmod=hashlib.sha1)
    mac.update(
        b"\0".join([nonce.encode(), localpart.encode(), password.reveal().encode(), b"notadmin"])
    )
    return {
        "nonce": nonce,
        "username": localpart,
        "password": password.reveal(),
        "admin": False,
        "mac": mac.hexdigest(),
    }


class Person:
    """One logged-in user. Every wait is bounded by `timeout_s`."""

    def __init__(self, api: HTTPAPI, user_id: str, timeout_s: float) -> None:
        self.user_id = user_id
        self._api = api
        self._timeout_s = timeout_s
        self._since: str | None = None
        self._seen: list[Event] = []

    @classmethod
    async def log_in(
        cls,
        session: aiohttp.ClientSession,
        homeserver: str,
        user_id: str,
        password: SecretValue,
        *,
        timeout_s: float = 30.0,
    ) -> Self:
        """Log in by password; the access token stays inside.

        Raises:
            ConversationError: the homeserver refused.
        """
        api = HTTPAPI(homeserver, client_session=session)
        body = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": user_id},
            "password": password.reveal(),
        }
        person = cls(api, user_id, timeout_s)
        answer = await person.request(Method.POST, Path.v3.login, body, sensitive=True)
        api.token = answer["access_token"]
        return person

    @property
    def access_token(self) -> SecretValue:
        """The token of this log-in."""
        return SecretValue(self._api.token or "")

    async def request(
        self,
        method: Method,
        path: Any,
        body: dict[str, Any] | None = None,
        *,
        query: dict[str, str] | None = None,
        sensitive: bool = False,
    ) -> Any:
        """One call of the client-server API.

        Raises:
            ConversationError: a Matrix error or a connection fault.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    try:
                        return await self._api.request(
                            method, path, body, query_params=query, sensitive=sensitive
                        )
                    except MLimitExceeded:  # nothing was done; a person waits and tries again
                        await asyncio.sleep(_PATIENCE_S)
        except TimeoutError as error:
            raise ConversationError(
                f"no answer within {self._timeout_s:g} s", where=f"{method.value} {path}"
            ) from error
        except (MatrixError, aiohttp.ClientError) as error:
            raise ConversationError(
                f"{type(error).__name__}: {error}", where=f"{method.value} {path}"
            ) from error

    async def join(self, room: str) -> str:
        """Join a room by id or alias; returns its id."""
        answer = await self.request(Method.POST, Path.v3.join[room], {})
        return str(answer["room_id"])

    async def invite(self, room_id: str, user_id: str) -> None:
        """Invite somebody to a room."""
        await self.request(Method.POST, Path.v3.rooms[room_id].invite, {"user_id": user_id})

    async def leave(self, room_id: str) -> None:
        """Leave a room."""
        await self.request(Method.POST, Path.v3.rooms[room_id].leave, {})

    async def log_out(self) -> None:
        """End the log-in: its access token is of no more use."""
        await self.request(Method.POST, Path.v3.logout, {})

    async def say(self, room_id: str, text: str, txn: str) -> str:
        """Send a text message; returns its event id. `txn` makes a retry the same message."""
        return await self.send(room_id, {"msgtype": "m.text", "body": text}, txn)

    async def send(self, room_id: str, content: Event, txn: str) -> str:
        """Send a message of any content; returns its event id."""
        path = Path.v3.rooms[room_id].send["m.room.message"][txn]
        answer = await self.request(Method.PUT, path, content)
        return str(answer["event_id"])

    async def sync(self, wait_ms: int = 0) -> None:
        """Take in what happened since the last call."""
        query = {"timeout": str(wait_ms)}
        if self._since is not None:
            query["since"] = self._since
        answer = await self.request(Method.GET, Path.v3.sync, query=query)
        self._since = answer["next_batch"]
        for room in answer.get("rooms", {}).get("join", {}).values():
            self._seen.extend(room["timeline"]["events"])

    async def wait_for_reply(self, event_id: str) -> Reply:
        """The control plane's final answer to the command `event_id`.

        Raises:
            ConversationError: none came in time.
        """
        return await self._wait_for(lambda event: _as_reply(event, event_id), event_id)

    async def ask(self, room_id: str, text: str, txn: str) -> Reply:
        """Say a command and wait for its answer."""
        return await self.wait_for_reply(await self.say(room_id, text, txn))

    def replies_to(self, event_id: str) -> int:
        """How many answers to one command have been seen so far."""
        return sum(_as_reply(event, event_id) is not None for event in self._seen)

    async def _wait_for(self, select: Callable[[Event], Reply | None], what: str) -> Reply:
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        while True:
            for event in self._seen:
                found = select(event)
                if found is not None:
                    return found
            remaining = deadline - asyncio.get_running_loop().time()
            if remaining <= 0:
                raise ConversationError(
                    f"no reply within {self._timeout_s:g} s",
                    where=what,
                    hint="the control plane's log says what it did with the message",
                )
            await self.sync(wait_ms=int(min(remaining, 5.0) * 1000))


def _as_reply(event: Event, command: str) -> Reply | None:
    content = event.get("content", {})
    meta = content.get(REPLY_KEY)
    if not isinstance(meta, dict) or meta.get("command") != command or not meta.get("final"):
        return None
    return Reply(
        event_id=event["event_id"],
        command=command,
        body=str(content.get("body", "")),
        ok=meta.get("ok") is True,
        trace=str(meta.get("trace", "")),
        sender=event["sender"],
    )
