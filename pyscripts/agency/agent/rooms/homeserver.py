"""Calls of the homeserver by the agent's own account.

Source: Matrix specification 1.11, client-server API: "Syncing", "Typing notifications",
"Sending events to a room", "Relationship types".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agency.agent.rooms.events.batches import (
    PAGE,
    Batch,
    RoomEvents,
    read_batch,
    read_page,
    since_joined,
    sync_filter,
)
from agency.agent.rooms.events.contents import answers
from agency.errors import PrerequisiteError
from agency.matrix import AnswerError, Backoff, MatrixError, MatrixSession, client_path

_log = logging.getLogger(__name__)

_MOST_PAGES = 10  # of a gap in one room
_GRACE_S = 15.0
_TYPING_S = 3.0
TYPING_MS = 30_000


@dataclass(frozen=True, slots=True)
class Homeserver:
    """The homeserver, called as `user`."""

    api: MatrixSession
    user: str
    backoff: Backoff = field(default_factory=lambda: Backoff(first_s=0.5, longest_s=60.0))
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep

    async def check(self) -> None:
        """Check that the token is the account's own; wait while the homeserver is away.

        Raises:
            PrerequisiteError: it is another account's, or is refused.
        """
        answer = await self.insist(
            lambda: self.api.request("GET", client_path("account", "whoami"))
        )
        if answer.get("user_id") != self.user:
            raise PrerequisiteError(
                f"the token is not that of {self.user}",
                where="user",
                hint="hand over a token of this account, or set its own Matrix id",
            )

    async def sync(self, since: str | None, wait_s: float) -> Batch:
        """Ask for what is new, and fill gaps; the first answer holds no events.

        A room whose older events cannot be read now keeps its gap, and holds up no other.

        Raises:
            MatrixError: the homeserver refused or did not answer.
        """
        query = {"timeout": str(int(wait_s * 1000)), "filter": sync_filter()}
        query |= {} if since is None else {"since": since}
        answer = await self.api.request(
            "GET", client_path("sync"), query=query, timeout_s=wait_s + _GRACE_S
        )
        batch = read_batch(answer, self.user)
        if batch is None:
            raise AnswerError("the answer to a sync has no token", where="/sync", status=200)
        if since is None:  # all of it was said before
            return Batch(batch.next, (), batch.invited)
        rooms = [await self.filled(each, since) for each in batch.rooms]
        return Batch(batch.next, tuple(rooms), batch.invited)

    async def filled(self, found: RoomEvents, since: str) -> RoomEvents:
        """Read the events that a sync left out, up to a bound; a gap is left where that fails."""
        events, before = list(found.events), found.gap
        for _ in range(_MOST_PAGES):
            if before is None:
                return RoomEvents(found.room, events)
            query = {"dir": "b", "from": before, "to": since, "limit": str(PAGE)}
            path = client_path("rooms", found.room, "messages")
            try:
                answer = await self.api.request("GET", path, query=query)
            except MatrixError as error:
                if error.may_pass:
                    why = {"room": found.room, "why": error.message}
                    _log.warning("cannot read older messages now", extra={"fields": why})
                    return RoomEvents(found.room, events, before)
                break
            older, before = read_page(answer)
            events = [*older, *events]
            kept, began = since_joined(events, self.user)
            if began:
                return RoomEvents(found.room, kept)
        if before is not None:
            fields = {"room": found.room, "read": len(events)}
            _log.warning("older messages of a room were not read", extra={"fields": fields})
        return RoomEvents(found.room, events)

    async def join(self, room: str) -> None:
        """Join a room that the account is invited to; raises MatrixError."""
        await self.api.request("POST", client_path("join", room), {})

    async def typing(self, room: str, *, on: bool) -> None:
        """Show that the agent is typing, for half a minute; a failure is no harm."""
        body = {"typing": True, "timeout": TYPING_MS} if on else {"typing": False}
        try:
            path = client_path("rooms", room, "typing", self.user)
            await self.api.request("PUT", path, body, timeout_s=_TYPING_S)
        except MatrixError as error:
            _log.debug("no typing notice", extra={"fields": {"why": error.message}})

    async def send(self, room: str, content: Mapping[str, Any], txn: str) -> str:
        """Send a message, again and again with one transaction id; return its event id.

        Raises:
            MatrixError: the homeserver refuses it.
        """
        path = client_path("rooms", room, "send", "m.room.message", txn)
        answer = await self.insist(lambda: self.api.request("PUT", path, content))
        return str(answer.get("event_id", ""))

    async def own_reply(self, room: str, root: str, event_id: str) -> str | None:
        """Return the agent's reply to an event in a thread; None if there is none."""
        path = client_path("rooms", room, "relations", root, "m.thread", version="v1")
        query = {"limit": str(PAGE)}
        try:
            answer = await self.insist(lambda: self.api.request("GET", path, query=query))
        except MatrixError:
            return None  # the room or the message is gone; sending will say so
        events, _ = read_page(answer)
        found = (e.get("event_id") for e in events if answers(e, self.user, event_id))
        return next((each for each in found if isinstance(each, str)), None)

    async def insist(self, call: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        """Repeat a call while its failure is temporary.

        Raises:
            MatrixError: it was refused. PrerequisiteError: the token is.
        """
        attempt = 1
        while True:
            try:
                return await call()
            except MatrixError as error:
                refuse_token(error)
                if not error.temporary:
                    raise
                wait = self.backoff.delay_s(attempt, error.retry_after_s)
            await self.sleep(wait)
            attempt += 1


def refuse_token(error: MatrixError) -> None:
    """Raise PrerequisiteError if an error says that the token is not valid."""
    if error.status == 401:
        raise PrerequisiteError(
            "the homeserver refuses the account's token",
            where=error.where,
            hint="hand over a new one, and start the agent again",
        ) from error
