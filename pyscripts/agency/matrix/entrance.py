"""Entrance to the control room: found by its alias, made, followed when it was replaced.

known room ──▶ tombstone? ──▶ successor that the alias names ──▶ of the right maker? ──▶ it
    │                                                                  └─ no ──▶ left again
    └── none known ──▶ alias ──▶ its room, if the bot is in it or an operator invites it
                         └─ names nothing ──▶ make a room
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Protocol

from agency.matrix.errors import AnswerError, MatrixError
from agency.matrix.findings import Finding, Lack, RoomLostError, entry_hint
from agency.matrix.paths import client_path
from agency.matrix.rooms import CONTROL_ROOM, RoomKind, lists_creator, localpart, power_levels
from agency.matrix.session import MatrixSession
from agency.matrix.state.invitations import may_accept
from agency.matrix.state.snapshot import Snapshot
from agency.matrix.state.succession import is_announced, objection
from agency.matrix.view import RoomView

_log = logging.getLogger(__name__)

_MOST_INVITATIONS = 32
_MOST_STEPS = 10  # upgrades that are followed at one time


class RoomFacts(Protocol):
    """Facts that the entrance needs."""

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
    def members(self) -> Sequence[str]:
        """Matrix ids of the people who are invited beside the operators, without power."""


class Entrance:
    """Way of the bot into a room that it keeps."""

    def __init__(
        self, api: MatrixSession, config: RoomFacts, view: RoomView, kind: RoomKind = CONTROL_ROOM
    ) -> None:
        self._api = api
        self._config = config
        self._view = view
        self._kind = kind
        self._alias = config.control_room_alias
        self._bot = config.bot_id
        self._invitations: dict[str, str] = {}
        self._refused: dict[str, str] = {}  # successors, and why: who made them does not change

    def invited(self, room: str, by: str) -> None:
        """Note an operator's invitation; those of others are not kept."""
        if by in self._config.operators:
            self._invitations.pop(room, None)
            self._invitations[room] = by
            if len(self._invitations) > _MOST_INVITATIONS:
                del self._invitations[next(iter(self._invitations))]  # the oldest

    async def enter(self, known: str | None) -> tuple[str, list[Finding]]:
        """Find the room by its alias, or as the one that is known; make it if there is none.

        Raises:
            RoomLostError: the bot may not enter the room.
            MatrixError: the homeserver refused or did not answer.
        """
        named = await self._resolve()
        if known is None:
            if named is None:
                return await self._create(), []
            await self._go_in(named)
            return named, []
        try:
            old = await self._go_in(known)
        except RoomLostError:
            # The alias is the agency's own: a room that it names and that lets the bot in will do.
            if named == known:
                raise
            return await self.enter(None)
        room, findings = known, list[Finding]()
        for _ in range(_MOST_STEPS):
            if not old.replacement:
                break
            why = await self._follow(room, old, named)
            if why is not None:
                findings.append(self._replaced(room, old, why))
                break
            _log.warning("followed the %s to its successor", self._kind.title, extra=_fields(old))
            room = old.replacement
            old = await self._go_in(room)
        if named != room and not findings:
            findings += await self._point_alias(room, named)
        return room, findings

    async def _go_in(self, room: str) -> Snapshot:
        """Have the bot in the room; it joins if an operator invited it, and not otherwise.

        Raises:
            RoomLostError: it is not in the room, and no operator has invited it.
        """
        snapshot = await self._view.look_if_seen(room)
        if snapshot.membership(self._bot) == "join":
            return snapshot
        accepted = may_accept(snapshot, self._bot, self._config.operators)
        noted = self._invitations.pop(room, None)
        if not accepted and noted is None:
            raise self._out(room, snapshot)
        try:
            await self._join(room)
        except MatrixError as error:
            if error.temporary:
                raise
            raise self._lost(room, error.message, error) from error
        return await self._view.look(room)

    def _out(self, room: str, snapshot: Snapshot) -> RoomLostError:
        member = snapshot.members.get(self._bot)
        if member is None:
            return self._lost(room, "it is not in it")
        told = {"invite": "invited only", "ban": "banned", "leave": "taken out"}
        return self._lost(room, f"{told.get(member.membership, 'not let in')} by {member.sender}")

    def _lost(self, room: str, why: str, error: MatrixError | None = None) -> RoomLostError:
        status, errcode = (403, "M_FORBIDDEN") if error is None else (error.status, error.errcode)
        text = f"the bot cannot enter the {self._kind.title}: {why}"
        lost = RoomLostError(text, where=room, status=status, errcode=errcode)
        lost.hint = entry_hint(lost, self._bot, self._kind.title)
        return lost

    async def _follow(self, old_id: str, old: Snapshot, named: str | None) -> str | None:
        """Enter the successor of a room; return why that is not possible, or not right."""
        successor = old.replacement
        why = is_announced(old, successor, named) or self._refused.get(successor)
        if why is not None:
            return why
        try:
            await self._join(successor)
            new = await self._view.look(successor)
        except MatrixError as error:
            if error.temporary:
                raise
            return f"the bot cannot enter it; invite {self._bot} there ({error.message})"
        why = objection(old_id, old, new, self._bot, self._config.operators)
        if why is not None:
            self._refused = {successor: why}
            await self._api.request("POST", client_path("rooms", successor, "leave"), {})
        return why

    def _replaced(self, room: str, old: Snapshot, why: str) -> Finding:
        text = f"{old.replaced_by} replaced the {self._kind.title} by {old.replacement}: {why}"
        title = self._kind.title
        hint = f"until that is mended {room} stays the {title}; docs/control-room.md says more"
        return Finding(Lack.REPLACED, room, text, hint)

    async def _point_alias(self, room: str, elsewhere: str | None) -> list[Finding]:
        """Give the room its alias back where that is free."""
        title = self._kind.title
        text = f"the alias {self._alias} is gone: people cannot find the {title} by it"
        if elsewhere is None:
            path = client_path("directory", "room", self._alias)
            try:
                await self._api.request("PUT", path, {"room_id": room})
            except MatrixError as error:
                if error.temporary:
                    raise
                text += f" ({error.message})"
            else:
                _log.info("gave the %s its alias back", title, extra={"fields": {"room": room}})
                return []
        else:
            text = f"the alias {self._alias} names another room; the {title} stays {room}"
        hint = f"as an administrator of the homeserver, let {self._alias} name {room} again"
        return [Finding(Lack.ALIAS, self._alias, text, hint)]

    async def _resolve(self) -> str | None:
        try:
            path = client_path("directory", "room", self._alias)
            room = (await self._api.request("GET", path)).get("room_id")
        except MatrixError as error:
            if error.status == 404:
                return None
            raise
        if not isinstance(room, str):
            raise AnswerError("the alias names no room", where=self._alias, status=200)
        return room

    async def _create(self) -> str:
        config = self._config
        body = {
            "preset": "private_chat",
            "visibility": "private",
            "room_alias_name": localpart(self._alias),
            "name": self._kind.name(config.instance),
            "topic": self._kind.topic,
            "power_level_content_override": power_levels(
                self._bot,
                config.operators,
                creator_is_listed=await self._lists_creator(),
                speak=self._kind.speak,
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
            await self._go_in(room)
            return room
        _log.info("made the %s", self._kind.title, extra={"fields": {"room": answer["room_id"]}})
        return str(answer["room_id"])

    async def _lists_creator(self) -> bool:
        answer: dict[str, Any] = await self._api.request("GET", client_path("capabilities"))
        versions = answer.get("capabilities", {}).get("m.room_versions", {})
        return lists_creator(str(versions.get("default", "")))

    async def _join(self, room: str) -> None:
        await self._api.request("POST", client_path("join", room), {}, as_user=self._bot)


def _fields(old: Snapshot) -> dict[str, dict[str, str]]:
    return {"fields": {"room": old.replacement, "by": old.replaced_by}}
