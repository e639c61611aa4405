"""Control room: makes its users, the room itself and its members where they are missing.

Every step reads the present state and does only what is missing: a second run is a no-op.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Protocol

from agency.matrix.errors import AnswerError, MatrixError
from agency.matrix.findings import (
    Finding,
    Lack,
    RoomLostError,
    RoomState,
    entry_hint,
    member_hint,
)
from agency.matrix.paths import client_path
from agency.matrix.rooms import (
    OPERATOR_POWER,
    Membership,
    lists_creator,
    localpart,
    membership,
    power_levels,
)
from agency.matrix.session import MatrixSession

_log = logging.getLogger(__name__)


class Member(Protocol):
    """A user who is brought into the room."""

    @property
    def matrix_id(self) -> str:
        """Full Matrix id."""


class RoomPlan(Protocol):
    """Facts that the control room needs; `ControlConfig` has them."""

    @property
    def instance(self) -> str:
        """Name of the instance."""

    @property
    def bot_id(self) -> str:
        """Matrix id of the bot that makes the room."""

    @property
    def control_room_alias(self) -> str:
        """Alias by which the room is found."""

    @property
    def operators(self) -> Sequence[str]:
        """Matrix ids of the people who are invited and have power in the room."""

    @property
    def agents(self) -> Sequence[Member]:
        """Agents that are brought into the room."""


class ControlRoom:
    """Control room, set up as the bot."""

    def __init__(self, api: MatrixSession, config: RoomPlan) -> None:
        self._api = api
        self._config = config
        self._alias = config.control_room_alias
        self._bot = config.bot_id

    async def ensure(self, known: str | None = None) -> RoomState:
        """Register the users, make or find the room, and bring in every member.

        `known` is the room that was the control room before; it stays so without its alias. A
        member who cannot be brought in is a finding, and holds up nobody.

        Raises:
            RoomLostError: the bot may not enter the room.
            MatrixError: the homeserver refused or did not answer.
        """
        await self._register(self._bot)
        findings: list[Finding] = []
        room = await self._enter(known, findings)
        findings += await self._ensure_power(room)
        members = await self.members(room)
        for agent in self._config.agents:
            if agent.matrix_id not in members.joined:
                invited = agent.matrix_id in members.invited
                findings += await self._bring_in(room, agent.matrix_id, invited=invited)
        for operator in self._config.operators:
            if operator not in members.joined | members.invited:
                findings += await self._invite_operator(room, operator)
        return RoomState(room, tuple(findings))

    async def _enter(self, known: str | None, findings: list[Finding]) -> str:
        """Find the room by its alias, or as the one that is known; make it if there is none."""
        named = await self._resolve()
        if known is not None and named != known and await self._may_stay(known, named):
            findings += await self._point_alias(known, named)
            return known
        if named is None:
            return await self._create()
        try:
            await self._join(named, self._bot)
        except MatrixError as error:
            if error.temporary:
                raise
            raise RoomLostError(
                f"the bot cannot enter the control room: {error.message}",
                where=named,
                status=error.status,
                errcode=error.errcode,
                hint=entry_hint(error, self._bot),
            ) from error
        return named

    async def _may_stay(self, known: str, named: str | None) -> bool:
        """Return whether a room is still the control room though its alias says otherwise.

        A room whose tombstone names the alias' room was replaced by it.
        """
        try:
            await self._join(known, self._bot)
        except MatrixError as error:
            if error.temporary:
                raise
            return False
        path = client_path("rooms", known, "state", "m.room.tombstone")
        successor = (await self._found(path) or {}).get("replacement_room")
        return successor is None or successor != named

    async def _point_alias(self, room: str, elsewhere: str | None) -> list[Finding]:
        """Give the room its alias back where that is free."""
        text = f"the alias {self._alias} is gone: people cannot find the control room by it"
        if elsewhere is None:
            path = client_path("directory", "room", self._alias)
            try:
                await self._api.request("PUT", path, {"room_id": room})
            except MatrixError as error:
                if error.temporary:
                    raise
                text += f" ({error.message})"
            else:
                _log.info("gave the control room its alias back", extra={"fields": {"room": room}})
                return []
        else:
            text = f"the alias {self._alias} names another room; the control room stays {room}"
        hint = f"as an administrator of the homeserver, let {self._alias} name {room} again"
        return [Finding(Lack.ALIAS, self._alias, text, hint)]

    async def _bring_in(self, room: str, agent: str, *, invited: bool) -> list[Finding]:
        """Have an agent's user join."""
        try:
            await self._register(agent)
            if not invited:
                await self._invite(room, agent)
            await self._join(room, agent)
        except MatrixError as error:
            if error.temporary and error.status != 429:
                raise
            text = f"{agent} cannot be brought into the control room: {error.message}"
            return [Finding(Lack.AGENT, agent, text, member_hint(error, agent))]
        return []

    async def members(self, room: str) -> Membership:
        """Ask for the members of the room and for the invited users."""
        return membership(await self._api.request("GET", client_path("rooms", room, "members")))

    async def _found(self, path: str) -> dict[str, Any] | None:
        try:
            return await self._api.request("GET", path)
        except MatrixError as error:
            if error.status == 404:
                return None
            raise

    async def _register(self, user: str) -> None:
        body = {
            "type": "m.login.application_service",
            "username": localpart(user),
            "inhibit_login": True,
        }
        try:
            await self._api.request("POST", client_path("register"), body)
        except MatrixError as error:
            if error.errcode != "M_USER_IN_USE":
                raise

    async def _resolve(self) -> str | None:
        found = await self._found(client_path("directory", "room", self._alias))
        room = None if found is None else found.get("room_id")
        if found is not None and not isinstance(room, str):
            raise AnswerError("the alias names no room", where=self._alias, status=200)
        return room

    async def _create(self) -> str:
        config = self._config
        body = {
            "preset": "private_chat",
            "visibility": "private",
            "room_alias_name": localpart(self._alias),
            "name": f"Control room of {config.instance}",
            "topic": "Say !agency help. Only operators are obeyed; everything is audited.",
            "power_level_content_override": power_levels(
                self._bot, config.operators, creator_is_listed=await self._lists_creator()
            ),
        }
        try:
            answer = await self._api.request("POST", client_path("createRoom"), body)
        except MatrixError as error:
            # Without an answer the room may have been made all the same.
            if error.errcode != "M_ROOM_IN_USE":
                raise
            room = await self._resolve()
            if room is None:
                raise
            await self._join(room, self._bot)
            return room
        _log.info("made the control room", extra={"fields": {"room": answer["room_id"]}})
        return str(answer["room_id"])

    async def _lists_creator(self) -> bool:
        answer = await self._api.request("GET", client_path("capabilities"))
        versions = answer.get("capabilities", {}).get("m.room_versions", {})
        return lists_creator(str(versions.get("default", "")))

    async def _ensure_power(self, room: str) -> list[Finding]:
        """Give operators their power, and take it from people who are no operators any more.

        Only the power that this method gives is taken: another level is somebody else's decision.
        """
        path = client_path("rooms", room, "state", "m.room.power_levels")
        levels = await self._found(path) or {}
        users = dict(levels.get("users", {}))
        operators = self._config.operators
        weak = [who for who in operators if users.get(who, 0) < OPERATOR_POWER]
        former = [
            who
            for who, level in users.items()
            if level == OPERATOR_POWER and who not in (*operators, self._bot)
        ]
        if not weak and not former:
            return []
        users |= dict.fromkeys(weak, OPERATOR_POWER) | dict.fromkeys(former, 0)
        try:
            await self._api.request("PUT", path, {**levels, "users": users})
        except MatrixError as error:
            if error.temporary:
                raise
            text = f"the bot cannot set the power levels of the control room: {error.message}"
            hint = f"give {self._bot} power 100 in the control room"
            return [Finding(Lack.POWER, self._bot, text, hint)]
        for who in former:
            _log.warning("took the power of a former operator", extra={"fields": {"user": who}})
        return []

    async def _invite(self, room: str, user: str) -> None:
        await self._api.request("POST", client_path("rooms", room, "invite"), {"user_id": user})

    async def _invite_operator(self, room: str, operator: str) -> list[Finding]:
        """Invite one operator; the homeserver of one from elsewhere may be away."""
        try:
            await self._invite(room, operator)
        except MatrixError as error:
            own = operator.partition(":")[2] == self._bot.partition(":")[2]
            if error.temporary and own and error.status not in (429, 502, 504):
                raise
            text = f"the operator {operator} cannot be invited to the control room: {error.message}"
            return [Finding(Lack.OPERATOR, operator, text, member_hint(error, operator))]
        return []

    async def _join(self, room: str, user: str) -> None:
        await self._api.request("POST", client_path("join", room), {}, as_user=user)
