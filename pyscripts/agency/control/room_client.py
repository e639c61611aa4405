"""Client for one command in the control room, sent with a user's login, and its reply."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from agency import naming
from agency.clock import Clock, new_id
from agency.control.login import Login
from agency.errors import AgencyError
from agency.matrix import (
    AnswerError,
    Backoff,
    MatrixError,
    MatrixSession,
    NoReplyError,
    Patience,
    Person,
    client_path,
    client_session,
)
from agency.protocols import Reply

_PATIENCE = Patience(
    faults=3,
    limits=3,
    answer_s=5.0,
    pace_s=0.05,  # for a homeserver that answers long polls at once
    backoff=Backoff(first_s=0.25, jitter=lambda: 1.0),
)


class RoomError(AgencyError):
    """The homeserver or the control plane did not answer as it should."""


async def ask(
    login: Login,
    text: str,
    *,
    timeout_s: float,
    clock: Clock | None = None,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> Reply:
    """Send `text` and wait for the control plane's final reply, `timeout_s` in all.

    Raises:
        RoomError: the homeserver refused or was not reached, or no reply came in time.
    """
    clock = clock or Clock()
    until = clock.steady() + timeout_s
    async with client_session() as http:
        person = Person(
            MatrixSession(login.homeserver, http, login.access_token.get_secret_value()),
            login.user_id,
            timeout_s=timeout_s,
            room=login.control_room,
            bot=login.bot,
            patience=_PATIENCE,
            clock=clock,
            sleep=sleep,
        )
        try:
            room = await _control_room(person, login, until)
            await person.sync(until=until)
            command = await person.say(room, text, new_id("room"), until=until)
        except MatrixError as error:
            raise _explained(error, login) from error
        try:
            return await person.wait_for_reply(command, room, until=until)
        except MatrixError as error:
            told = _explained(error, login)
            message = f"the command was sent, but {told.message}"
            raise RoomError(message, where=told.where, hint=told.hint) from error
        except NoReplyError as error:
            raise RoomError(
                f"the command was sent, but {error.message}",
                where=command,
                hint="it may still run; `agency status` says how the local agency is",
            ) from error


async def _control_room(person: Person, login: Login, until: float) -> str:
    """Return the room that the agency's alias names now, joined; without one that of the login.

    The alias belongs to the agency; it moves when the room is replaced.
    """
    alias = naming.control_room_alias(login.bot.partition(":")[2])
    try:
        path = client_path("directory", "room", alias)
        found = (await person.request("GET", path, until=until)).get("room_id")
    except MatrixError as error:
        if error.status != 404:
            raise
        return login.control_room
    if not isinstance(found, str) or found == login.control_room:
        return login.control_room
    await person.join(found)
    person.listen_in(found)
    return found


_REMEDIES = {
    "M_UNKNOWN_TOKEN": "this login has ended; `agency down` and `agency up` make a new one",
    "M_MISSING_TOKEN": "this login has ended; `agency down` and `agency up` make a new one",
    "M_FORBIDDEN": "is this user a member of the control room?",
    "M_LIMIT_EXCEEDED": "too many messages at once; wait, and say it again",
}


def _explained(error: MatrixError, login: Login) -> RoomError:
    """Make the error that a person at a terminal sees after a failed call."""
    method, _, path = (error.where or "").partition(" ")
    where = f"{method} {login.homeserver}{path}" if path else error.where
    if isinstance(error, AnswerError):
        return RoomError(error.message, where=where, hint=error.hint)
    if error.status is None:
        hint = "`agency status` says how the local agency is"
        return RoomError(error.message, where=where, hint=hint)
    code = error.errcode or ""
    return RoomError(
        f"the homeserver answered HTTP {error.status} {code}".rstrip(),
        where=where,
        hint=_REMEDIES.get(code, "its log says why"),
    )
