"""Control room: makes its users, the room itself and its members where they are missing.

Every step reads the present state and does only what is missing: a second run is a no-op.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Protocol

from agency.matrix.errors import MatrixError
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

    async def ensure(self) -> str:
        """Register the users, make or find the room, bring in every member; return the room id.

        Raises:
            MatrixError: the homeserver refused or did not answer.
        """
        agents = [agent.matrix_id for agent in self._config.agents]
        for user in (self._bot, *agents):
            await self._register(user)
        room = await self._resolve()
        if room is None:
            room = await self._create()
        else:
            await self._join(room, self._bot)
            await self._ensure_power(room)
        members = await self.members(room)
        for agent in agents:
            if agent not in members.joined:
                await self._bring_in(room, agent, invited=agent in members.invited)
        for operator in self._config.operators:
            if operator not in members.joined | members.invited:
                await self._invite_operator(room, operator)
        return room

    async def _bring_in(self, room: str, agent: str, *, invited: bool) -> None:
        """Have an agent's user join; a banned one must not keep the control plane from starting."""
        try:
            if not invited:
                await self._invite(room, agent)
            await self._join(room, agent)
        except MatrixError as error:
            if error.temporary:
                raise
            _log.warning(
                "cannot bring an agent into the control room: %s",
                error.message,
                extra={"fields": {"agent": agent}},
            )

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
        return None if found is None else str(found["room_id"])

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

    async def _ensure_power(self, room: str) -> None:
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
        if weak or former:
            users |= dict.fromkeys(weak, OPERATOR_POWER) | dict.fromkeys(former, 0)
            await self._api.request("PUT", path, {**levels, "users": users})
        for who in former:
            _log.warning("took the power of a former operator", extra={"fields": {"user": who}})

    async def _invite(self, room: str, user: str) -> None:
        await self._api.request("POST", client_path("rooms", room, "invite"), {"user_id": user})

    async def _invite_operator(self, room: str, operator: str) -> None:
        """Invite one operator; an unreachable one must not keep the others waiting."""
        try:
            await self._invite(room, operator)
        except MatrixError as error:
            if error.temporary and error.status != 502:
                raise
            _log.warning(
                "cannot invite an operator: %s",
                error.message,
                extra={"fields": {"operator": operator}},
            )

    async def _join(self, room: str, user: str) -> None:
        await self._api.request("POST", client_path("join", room), {}, as_user=user)
