"""Saying one thing in the control room and waiting for the answer, as a Matrix client does.

Source: Matrix specification 1.11, client-server API: "Sending events to a room", "Syncing",
"Relationship types", "Rate limiting".
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests

from agency.clock import Clock, new_id
from agency.control.login import Login
from agency.errors import AgencyError

REPLY_KEY = "org.agency.reply"

_MAX_BODY = 8 * 1024 * 1024
_ATTEMPTS = 4
_FIRST_DELAY_S = 0.25
_POLL_S = 5.0
_PACE_S = 0.05  # between polls, for a homeserver that answers them at once
_CONNECT_S = 5.0
_GRACE_S = 5.0  # beyond a long poll's own time
_CHUNK = 64 * 1024

Event = dict[str, Any]


class RoomError(AgencyError):
    """The homeserver or the control plane did not answer as it should."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The control plane's answer to the command with the event id `command`."""

    command: str
    event_id: str
    sender: str
    body: str
    ok: bool
    trace: str


class RoomClient:
    """Speaks as the user of a login. All that it does together takes at most `timeout_s`."""

    def __init__(
        self,
        login: Login,
        session: requests.Session,
        *,
        timeout_s: float,
        clock: Clock | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._login = login
        self._session = session
        # The environment may name a proxy, and ~/.netrc other credentials: neither is asked.
        session.trust_env = False
        self._clock = clock or Clock()
        self._sleep = sleep
        self._timeout_s = timeout_s
        self._deadline = self._clock.steady() + timeout_s
        self._room = quote(login.control_room, safe="")

    def ask(self, text: str) -> Reply:
        """Say `text` and wait for the control plane's final reply.

        Raises:
            RoomError: the homeserver refused or was not reached, or no reply came in time.
        """
        since = self._sync(None)["next_batch"]
        path = f"/_matrix/client/v3/rooms/{self._room}/send/m.room.message/{new_id('room')}"
        sent = self._call("PUT", path, body={"msgtype": "m.text", "body": text})
        command = _string(sent, "event_id")
        try:
            return self._wait_for_reply(command, since)
        except RoomError as error:
            raise RoomError(
                f"the command was sent, but {error.message}", where=error.where, hint=error.hint
            ) from error

    def _wait_for_reply(self, command: str, since: str) -> Reply:
        while self._left() > 0:
            answer = self._sync(since)
            since = answer["next_batch"]
            for event in self._new_events(answer, command):
                reply = as_reply(event, command, self._login.bot)
                if reply is not None:
                    return reply
            self._sleep(_PACE_S)
        raise RoomError(
            f"no reply came within {self._timeout_s:g} s",
            where=command,
            hint="it may still run; `agency status` says how the local agency is",
        )

    def _new_events(self, answer: Event, command: str) -> list[Event]:
        """What was said since; if the homeserver left some out, the command's thread as well."""
        timeline = _dig(answer, "rooms", "join", self._login.control_room, "timeline")
        events = _dicts(timeline.get("events"))
        if timeline.get("limited"):
            thread = quote(command, safe="")
            path = f"/_matrix/client/v1/rooms/{self._room}/relations/{thread}/m.thread"
            events += _dicts(self._call("GET", path).get("chunk"))
        return events

    def _sync(self, since: str | None) -> Event:
        nothing = {"not_types": ["*"]}
        only = {
            "presence": nothing,
            "account_data": nothing,
            "room": {
                "rooms": [self._login.control_room],
                "timeline": {"types": ["m.room.message"], "limit": 100 if since else 1},
                "state": nothing,
                "ephemeral": nothing,
                "account_data": nothing,
            },
        }
        wait_s = min(_POLL_S, max(0.0, self._left())) if since else 0.0
        query = {"filter": json.dumps(only), "timeout": str(int(wait_s * 1000))}
        if since:
            query["since"] = since
        answer = self._call("GET", "/_matrix/client/v3/sync", query=query, wait_s=wait_s)
        _string(answer, "next_batch")
        return answer

    def _call(
        self,
        method: str,
        path: str,
        *,
        body: Event | None = None,
        query: dict[str, str] | None = None,
        wait_s: float = 0.0,
    ) -> Event:
        """One call, tried again after what may pass; a PUT's transaction id makes that safe."""
        delay = _FIRST_DELAY_S
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._once(method, path, body, query, wait_s)
            except _PassingError as passing:
                pause = passing.after_s if passing.after_s is not None else delay
                if attempt == _ATTEMPTS or pause >= self._left():
                    raise passing.error from passing
                self._sleep(pause)
                delay *= 2
        raise AssertionError("the last attempt returns or raises")

    def _once(
        self,
        method: str,
        path: str,
        body: Event | None,
        query: dict[str, str] | None,
        wait_s: float,
    ) -> Event:
        where = f"{method} {self._login.homeserver}{path}"
        token = self._login.access_token.get_secret_value()
        try:
            with self._session.request(
                method,
                self._login.homeserver + path,
                params=query,
                json=body,
                headers={"Authorization": f"Bearer {token}"},
                timeout=(_CONNECT_S, wait_s + _GRACE_S),
                allow_redirects=False,
                stream=True,
            ) as response:
                status, data = response.status_code, self._read(response, where)
        except requests.RequestException as error:
            problem = RoomError(
                f"no answer from the homeserver ({type(error).__name__})",
                where=where,
                hint="`agency status` says how the local agency is",
            )
            raise _PassingError(problem) from error
        answer = _as_object(data)
        if status == 200 and answer is not None:
            return answer
        raise _refusal(status, answer or {}, where)

    def _read(self, response: requests.Response, where: str) -> bytes:
        data = bytearray()
        for chunk in response.iter_content(_CHUNK):
            data += chunk
            if len(data) > _MAX_BODY:
                raise RoomError(f"the answer has more than {_MAX_BODY} bytes", where=where)
            if self._left() < -_GRACE_S:
                raise RoomError("the answer does not end", where=where)
        return bytes(data)

    def _left(self) -> float:
        return self._deadline - self._clock.steady()


class _PassingError(Exception):
    """A fault that may be gone at the next attempt, `after_s` from now if that was said."""

    def __init__(self, error: RoomError, after_s: float | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.after_s = after_s


def as_reply(event: Event, command: str, bot: str) -> Reply | None:
    """The final reply of the bot to a command, if `event` is that; anybody may send a likeness."""
    content = event.get("content")
    if event.get("sender") != bot or not isinstance(content, dict):
        return None
    relation, meta = _dig(content, "m.relates_to"), _dig(content, REPLY_KEY)
    if relation.get("rel_type") != "m.thread" or relation.get("event_id") != command:
        return None
    if meta.get("command") != command or meta.get("final") is not True:
        return None
    return Reply(
        command=command,
        event_id=str(event.get("event_id", "")),
        sender=bot,
        body=str(content.get("body", "")),
        ok=meta.get("ok") is True,
        trace=str(meta.get("trace", "")),
    )


def _refusal(status: int, answer: Event, where: str) -> Exception:
    code = str(answer.get("errcode", ""))
    error = RoomError(
        f"the homeserver answered HTTP {status} {code}".rstrip(),
        where=where,
        hint=_REMEDIES.get(code, "its log says why"),
    )
    if status == 429:
        wait_ms = answer.get("retry_after_ms")
        return _PassingError(error, wait_ms / 1000 if isinstance(wait_ms, int) else None)
    return _PassingError(error) if status >= 500 else error


_REMEDIES = {
    "M_UNKNOWN_TOKEN": "this login has ended; `agency down` and `agency up` make a new one",
    "M_MISSING_TOKEN": "this login has ended; `agency down` and `agency up` make a new one",
    "M_FORBIDDEN": "is this user a member of the control room?",
    "M_LIMIT_EXCEEDED": "too many messages at once; wait, and say it again",
}


def _as_object(data: bytes) -> Event | None:
    try:
        value = json.loads(data)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _dig(value: Event, *keys: str) -> Event:
    """The object under `keys`; an empty one where there is none."""
    for key in keys:
        inner = value.get(key)
        value = inner if isinstance(inner, dict) else {}
    return value


def _dicts(value: object) -> list[Event]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _string(answer: Event, key: str) -> str:
    value = answer.get(key)
    if not isinstance(value, str) or not value:
        raise RoomError(f"the homeserver's answer has no {key}", hint="is this a homeserver?")
    return value
