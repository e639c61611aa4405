"""Person at a Matrix client: logs in, joins, sends messages, and reads the answers.

Source: Matrix specification 1.11, client-server API: "Login", "Sending events to a room",
"Syncing", "Relationship types", "Rate limiting".
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeVar

from agency.clock import Clock
from agency.matrix.backoff import Backoff
from agency.matrix.errors import AnswerError, MatrixError, NoReplyError
from agency.matrix.paths import client_path
from agency.matrix.session import MatrixSession
from agency.protocols import Reply, as_reply

Event = dict[str, Any]
Found = TypeVar("Found")

_POLL_S = 5.0
_GRACE_S = 5.0  # beyond the end of a wait, for the answer to the last call
_LAST = 100  # messages of a room that are read where a sync left some out
_MAX_SEEN = 10_000  # events that are kept for a reply to be found among


@dataclass(frozen=True, slots=True)
class Patience:
    """Bounds on repeated calls, and the waits between them.

    `faults` bounds the attempts after no answer or HTTP 5xx, for calls that may be repeated;
    `limits` those after a rate limit, when the homeserver did nothing. `answer_s` bounds one
    answer, beyond a long poll's own time; `pace_s` is the wait between two syncs.
    """

    faults: int = 0
    limits: int = 100
    answer_s: float = 30.0
    pace_s: float = 0.0
    backoff: Backoff = field(default_factory=lambda: Backoff(first_s=0.5, longest_s=0.5))

    def pause_s(self, error: MatrixError, attempt: int, *, repeatable: bool) -> float | None:
        """Return the seconds to wait after the `attempt`-th failure (from 1); None to give up."""
        limited = error.status == 429
        failed = repeatable and (error.status is None or error.status >= 500)
        if not (attempt <= self.limits if limited else failed and attempt <= self.faults):
            return None
        return self.backoff.delay_s(attempt, error.retry_after_s)


class Person:
    """One logged-in user; `timeout_s` bounds each call, and each wait for a reply.

    `room` narrows syncs to one room; with `bot`, only replies from that user count.
    """

    def __init__(
        self,
        session: MatrixSession,
        user_id: str,
        *,
        timeout_s: float = 30.0,
        room: str | None = None,
        bot: str | None = None,
        patience: Patience | None = None,
        clock: Clock | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.user_id = user_id
        self._session = session
        self._timeout_s = timeout_s
        self._room, self._bot = room, bot
        self._patience = patience or Patience()
        self._clock = clock or Clock()
        self._sleep = sleep
        self._since: str | None = None
        self._seen: deque[Event] = deque(maxlen=_MAX_SEEN)

    @classmethod
    async def log_in(
        cls, session: MatrixSession, user_id: str, password: str, *, timeout_s: float = 30.0
    ) -> Self:
        """Log in by password.

        Raises:
            MatrixError: the homeserver refused.
        """
        guest = cls(session, user_id, timeout_s=timeout_s)
        body = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": user_id},
            "password": password,
        }
        token = _string(await guest.request("POST", client_path("login"), body), "access_token")
        return cls(replace(session, token=token), user_id, timeout_s=timeout_s)

    @property
    def access_token(self) -> str:
        """Access token of this log-in."""
        return self._session.token or ""

    async def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        wait_s: float = 0.0,
        until: float | None = None,
    ) -> Event:
        """Make one call as this user; repeat it after a temporary failure.

        `wait_s` is the homeserver's time for a long poll; all attempts end at `until` (of the
        steady clock), or else `timeout_s` from now.

        Raises:
            MatrixError: it was refused, or there was no answer.
        """
        until = self._until() if until is None else until
        attempt = 1
        while True:
            left = max(until - self._clock.steady(), 0.0)
            timeout_s = min(wait_s + self._patience.answer_s, left + _GRACE_S)
            try:
                return await self._session.request(
                    method, path, body, query=query, timeout_s=timeout_s
                )
            except MatrixError as error:
                pause = self._patience.pause_s(error, attempt, repeatable=method != "POST")
                if pause is None or pause >= until - self._clock.steady():
                    raise
            await self._sleep(pause)
            attempt += 1

    async def state(self, room_id: str) -> list[Event]:
        """Ask for the current state events of a room."""
        path = client_path("rooms", room_id, "state")
        return _dicts(await self._session.request_list("GET", path, timeout_s=self._timeout_s))

    async def join(self, room: str) -> str:
        """Join a room by id or alias; return its id."""
        return _string(await self.request("POST", client_path("join", room)), "room_id")

    def listen_in(self, room_id: str) -> None:
        """Read the messages of this room only, from the next sync on."""
        self._room = room_id

    async def invite(self, room_id: str, user_id: str) -> None:
        """Invite a user to a room."""
        await self.request("POST", client_path("rooms", room_id, "invite"), {"user_id": user_id})

    async def leave(self, room_id: str) -> None:
        """Leave a room."""
        await self.request("POST", client_path("rooms", room_id, "leave"))

    async def log_out(self) -> None:
        """End the log-in; its access token is then invalid."""
        await self.request("POST", client_path("logout"))

    async def say(self, room_id: str, text: str, txn: str, *, until: float | None = None) -> str:
        """Send a text message; return its event id. `txn` makes a retry the same message."""
        return await self.send(room_id, {"msgtype": "m.text", "body": text}, txn, until=until)

    async def send(
        self, room_id: str, content: Mapping[str, Any], txn: str, *, until: float | None = None
    ) -> str:
        """Send a message of any content; return its event id."""
        path = client_path("rooms", room_id, "send", "m.room.message", txn)
        return _string(await self.request("PUT", path, content, until=until), "event_id")

    async def sync(self, wait_s: float = 0.0, *, until: float | None = None) -> bool:
        """Fetch the events since the last call; return true if the homeserver left some out."""
        query = {"timeout": str(int(wait_s * 1000))}
        if self._room is not None:
            query["filter"] = json.dumps(_only(self._room, 100 if self._since else 1))
        if self._since is not None:
            query["since"] = self._since
        answer = await self.request(
            "GET", client_path("sync"), query=query, wait_s=wait_s, until=until
        )
        since, self._since = self._since, _string(answer, "next_batch")
        limited = False
        for joined in _object(_object(answer, "rooms"), "join").values():
            timeline = _object(joined, "timeline") if isinstance(joined, dict) else {}
            self._seen.extend(_dicts(timeline.get("events")))
            limited = limited or bool(timeline.get("limited"))
        return limited and since is not None

    async def ask(self, room_id: str, text: str, txn: str) -> Reply:
        """Send a command and wait for its answer."""
        return await self.wait_for_reply(await self.say(room_id, text, txn), room_id)

    async def wait_for_reply(
        self, event_id: str, room_id: str | None = None, *, until: float | None = None
    ) -> Reply:
        """Wait for the control plane's final answer to the command `event_id`.

        With `room_id`, read the command's thread as well where a sync left events out.

        Raises:
            NoReplyError: none came in time.
            MatrixError: the homeserver failed.
        """
        until = self._until() if until is None else until
        waited = False
        while not (replies := self._replies(event_id)):
            if waited and self._patience.pace_s:
                await self._sleep(self._patience.pace_s)
            left = until - self._clock.steady()
            if left <= 0:
                raise NoReplyError(
                    f"no reply came within {self._timeout_s:g} s",
                    where=event_id,
                    hint="the control plane's log says what it did with the message",
                )
            limited = await self.sync(min(_POLL_S, left), until=until)
            if limited and room_id is not None:
                self._seen.extend(await self._thread(room_id, event_id, until))
            waited = True
        return replies[0]

    async def wait_for(
        self,
        pick: Callable[[Event], Found | None],
        room_id: str,
        *,
        what: str,
        within_s: float | None = None,
    ) -> Found:
        """Wait for an event of a room of which `pick` makes something; return that.

        It is waited for within the time of a reply, unless another is given. Where a sync left
        events out, the last of the room's messages are read as well.

        Raises:
            NoReplyError: none came in time; `what` names it.
            MatrixError: the homeserver failed.
        """
        within_s = self._timeout_s if within_s is None else within_s
        until = self._clock.steady() + within_s
        while True:
            found = next((one for one in map(pick, self._seen) if one is not None), None)
            if found is not None:
                return found
            left = until - self._clock.steady()
            if left <= 0:
                raise NoReplyError(
                    f"{what} did not come within {within_s:g} s",
                    where=room_id,
                    hint="the control plane's log says what it did",
                )
            if await self.sync(min(_POLL_S, left), until=until):
                path = client_path("rooms", room_id, "messages")
                query = {"dir": "b", "limit": str(_LAST)}
                answer = await self.request("GET", path, query=query, until=until)
                self._seen.extend(_dicts(answer.get("chunk")))

    def replies_to(self, event_id: str) -> int:
        """Count the answers to one command that have been seen so far."""
        return len({reply.event_id for reply in self._replies(event_id)})

    def _replies(self, command: str) -> list[Reply]:
        found = (as_reply(event, command, self._bot) for event in self._seen)
        return [reply for reply in found if reply is not None]

    async def _thread(self, room_id: str, event_id: str, until: float) -> list[Event]:
        path = client_path("rooms", room_id, "relations", event_id, "m.thread", version="v1")
        return _dicts((await self.request("GET", path, until=until)).get("chunk"))

    def _until(self) -> float:
        return self._clock.steady() + self._timeout_s


def _only(room: str, most: int) -> dict[str, Any]:
    """Return a sync filter for the messages of one room."""
    nothing = {"not_types": ["*"]}
    return {
        "presence": nothing,
        "account_data": nothing,
        "room": {
            "rooms": [room],
            "timeline": {"types": ["m.room.message"], "limit": most},
            "state": nothing,
            "ephemeral": nothing,
            "account_data": nothing,
        },
    }


def _object(value: Event, key: str) -> Event:
    inner = value.get(key)
    return inner if isinstance(inner, dict) else {}


def _dicts(value: object) -> list[Event]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _string(answer: Event, key: str) -> str:
    value = answer.get(key)
    if not isinstance(value, str) or not value:
        raise AnswerError(
            f"the homeserver's answer has no {key}", where=key, hint="is this a homeserver?"
        )
    return value
