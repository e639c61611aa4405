"""Making sure that the bot, the agents and the control room are there. Running it again is a no-op.

Every step asks what is, and does what is missing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mautrix.api import Method, Path

from agency.control.matrix.api import MatrixApi, MatrixError

_log = logging.getLogger(__name__)

_BOT_POWER = 100
_OPERATOR_POWER = 50
_FIRST_VERSION_WITH_CREATORS = 12


class Member(Protocol):
    """Somebody who is brought into the room."""

    @property
    def matrix_id(self) -> str:
        """The full Matrix id."""


class RoomPlan(Protocol):
    """What the control room needs to know; `ControlConfig` is one."""

    @property
    def instance(self) -> str:
        """The instance's name."""

    @property
    def bot_id(self) -> str:
        """Who makes the room."""

    @property
    def control_room_alias(self) -> str:
        """Under which the room is found."""

    @property
    def operators(self) -> Sequence[str]:
        """Who is invited, and has power there."""

    @property
    def agents(self) -> Sequence[Member]:
        """Who is brought in."""


@dataclass(frozen=True, slots=True)
class Membership:
    """Who is in the control room, by the homeserver's word."""

    joined: frozenset[str]
    invited: frozenset[str]


def localpart(user_id: str) -> str:
    """`alice` of `@alice:example.org`."""
    return user_id[1:].partition(":")[0]


def power_levels(
    bot_id: str, operators: Iterable[str], *, creator_is_listed: bool
) -> dict[str, Any]:
    """The control room's power levels.

    From room version 12 on the creator has all power and must not be listed.
    Source: Matrix specification 1.16, "Room version 12".
    """
    users = dict.fromkeys(operators, _OPERATOR_POWER)
    if creator_is_listed:
        users[bot_id] = _BOT_POWER
    return {
        "users": users,
        "users_default": 0,
        "events_default": 0,
        "invite": _OPERATOR_POWER,
        "kick": _OPERATOR_POWER,
        "ban": _OPERATOR_POWER,
        "redact": _OPERATOR_POWER,
        "state_default": _BOT_POWER,
        "events": {"m.room.name": _OPERATOR_POWER, "m.room.topic": _OPERATOR_POWER},
    }


class RoomSetup:
    """Sets up the control room as the bot."""

    def __init__(self, api: MatrixApi, config: RoomPlan) -> None:
        self._api = api
        self._config = config
        self._alias = config.control_room_alias
        self._bot = config.bot_id

    async def ensure(self) -> str:
        """Register the users, make or find the room, bring everybody in; returns the room id.

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
            await self._ensure_operator_power(room)
        members = await self.members(room)
        for agent in agents:
            if agent not in members.joined:
                if agent not in members.invited:
                    await self._invite(room, agent)
                await self._join(room, agent)
        for operator in self._config.operators:
            if operator not in members.joined | members.invited:
                await self._invite_operator(room, operator)
        return room

    async def members(self, room: str) -> Membership:
        """Who is in the room and who is invited."""
        answer = await self._api.request(Method.GET, Path.v3.rooms[room].members)
        by: dict[str, set[str]] = {"join": set(), "invite": set()}
        for event in answer.get("chunk", []):
            by.setdefault(event["content"].get("membership", ""), set()).add(event["state_key"])
        return Membership(frozenset(by["join"]), frozenset(by["invite"]))

    async def _found(self, method: Method, path: Any) -> dict[str, Any] | None:
        try:
            return await self._api.request(method, path)
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
            await self._api.request(Method.POST, Path.v3.register, body)
        except MatrixError as error:
            if error.errcode != "M_USER_IN_USE":
                raise

    async def _resolve(self) -> str | None:
        found = await self._found(Method.GET, Path.v3.directory.room[self._alias])
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
                self._bot, config.operators, creator_is_listed=await self._creator_is_listed()
            ),
        }
        try:
            answer = await self._api.request(Method.POST, Path.v3.createRoom, body)
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

    async def _creator_is_listed(self) -> bool:
        answer = await self._api.request(Method.GET, Path.v3.capabilities)
        versions = answer.get("capabilities", {}).get("m.room_versions", {})
        version = str(versions.get("default", ""))
        return not version.isdecimal() or int(version) < _FIRST_VERSION_WITH_CREATORS

    async def _ensure_operator_power(self, room: str) -> None:
        path = Path.v3.rooms[room].state["m.room.power_levels"]
        levels = await self._found(Method.GET, path) or {}
        users = dict(levels.get("users", {}))
        weak = [who for who in self._config.operators if users.get(who, 0) < _OPERATOR_POWER]
        if weak:
            users |= dict.fromkeys(weak, _OPERATOR_POWER)
            await self._api.request(Method.PUT, path, {**levels, "users": users})

    async def _invite(self, room: str, user: str) -> None:
        await self._api.request(Method.POST, Path.v3.rooms[room].invite, {"user_id": user})

    async def _invite_operator(self, room: str, operator: str) -> None:
        """Invite one; an operator who cannot be reached must not keep the others waiting."""
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
        await self._api.request(Method.POST, Path.v3.join[room], {}, as_user=user)
