"""synapse-rooms: the control room and the instance's space exist, are closed, and as declared.

`ControlRoom`, shared with the control plane, makes the control room and brings its members in. This
module adds the rest: the correction of changed room state, and the space.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from agency.errors import PrerequisiteError
from agency.matrix import ControlRoom, MatrixError, MatrixSession, client_path, client_session
from agency.reconcile.engine.contract import ABSENT, Change
from agency.reconcile.matrix import rooms
from agency.reconcile.matrix.rooms import Room, SynapseRoomsSettings
from agency.secrets import MATRIX_AS_TOKEN, SecretValue, read_credential

_log = logging.getLogger(__name__)

SETTINGS = SynapseRoomsSettings


@dataclass(frozen=True, slots=True)
class Rooms:
    """Observed rooms; `strange` if the alias leads to a room that the bot is not in."""

    control: Room | None
    space: Room | None
    strange: bool = False


class Step(Enum):
    """Kinds of changes."""

    SET_UP = auto()  # the control plane's own code: users, room, members
    MAKE_SPACE = auto()
    STATE = auto()
    UNLIST = auto()
    INVITE = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomChange(Change):
    """One change; `kind`, `key` and `content` are those of a state event."""

    step: Step | None = None
    room: str = ""
    kind: str = ""
    key: str = ""
    content: dict[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class SynapseRooms:
    """Reconciler of the rooms."""

    api: MatrixSession
    settings: SynapseRoomsSettings
    token: SecretValue

    def secrets(self) -> tuple[SecretValue, ...]:
        """Return the application service's token."""
        return (self.token,)

    async def observe(self) -> Rooms:
        """Ask the homeserver, as the bot."""
        alias = self.settings.control_room_alias
        try:
            answer = await self.api.request("GET", client_path("directory", "room", alias))
        except MatrixError as error:
            if error.status != 404:
                raise _down(error, self.settings.homeserver_url) from error
            return Rooms(None, None)
        control = str(answer["room_id"])
        joined = await self._joined()
        if control not in joined:
            return Rooms(None, None, strange=True)
        space = await self._space_among(joined)
        if space is None:
            return Rooms(await self._room(control, None), None)
        return Rooms(
            await self._room(control, (rooms.PARENT, space)),
            await self._room(space, (rooms.CHILD, control)),
        )

    async def _joined(self) -> list[str]:
        answer = await self.api.request("GET", client_path("joined_rooms"))
        return sorted(answer.get("joined_rooms", []))

    async def _space_among(self, joined: list[str]) -> str | None:
        for room in joined:
            made = await self._event(room, rooms.CREATE)
            ours = made.get(rooms.SPACE_OF) == self.settings.instance
            if made.get("type") == rooms.SPACE_TYPE and ours:
                return room
        return None

    async def _room(self, room: str, reference: tuple[str, str] | None) -> Room:
        """Read a room with the state that matters; `reference` names the other room."""
        kinds = (
            rooms.CREATE, rooms.LEVELS, rooms.JOIN_RULES, rooms.HISTORY, rooms.ALIAS,
            rooms.ENCRYPTION,
        )  # fmt: skip
        state = {(kind, ""): await self._event(room, kind) for kind in kinds}
        if reference is not None:
            state[reference] = await self._event(room, *reference)
        members = await self.api.request("GET", client_path("rooms", room, "members"))
        for event in members.get("chunk", []):
            state["m.room.member", event["state_key"]] = event["content"]
        return Room(room, state, await self._listed(room))

    async def _event(self, room: str, kind: str, key: str = "") -> dict[str, Any]:
        try:
            return await self.api.request("GET", _state_path(room, kind, key))
        except MatrixError as error:
            if error.status == 404:
                return {}
            raise

    async def _listed(self, room: str) -> bool:
        path = client_path("directory", "list", "room", room)
        answer = await self.api.request("GET", path)
        return answer.get("visibility") != "private"

    def plan(self, observed: Rooms) -> tuple[RoomChange, ...]:
        """List the differences: the control room first, since the space names it."""
        if observed.strange:
            return (self._strange(),)
        control = self._plan_control(observed.control)
        if observed.control is None:
            return tuple(control)
        return (*control, *self._plan_space(observed.space, observed.control))

    def _strange(self) -> RoomChange:
        return RoomChange(
            part=f"room {self.settings.control_room_alias}",
            what="bot",
            before="not in the room",
            after="in the room",
            blocked="the alias belongs to a room that the bot is not in, and cannot come into",
            hint=f"invite {self.settings.bot_id} and give it power 100, or remove the alias "
            "from that room; then run this again",
        )

    def _plan_control(self, room: Room | None) -> list[RoomChange]:
        settings = self.settings
        part = f"room {settings.control_room_alias}"
        if room is None:
            return [_change(part, "room", ABSENT, "made", step=Step.SET_UP)]
        if room.content(rooms.ENCRYPTION):
            return [_encrypted(part, room)]
        changes = self._plan_state(part, room, settings.control_room_alias)
        agents = {agent.matrix_id for agent in settings.agents}
        missing = sorted(agents - room.members("join"))
        people = {*settings.operators, *settings.members}
        uninvited = sorted(people - room.members("join", "invite"))
        if missing or uninvited:
            before = ", ".join([*missing, *uninvited])
            changes.append(_change(part, "members", f"without {before}", "all", step=Step.SET_UP))
        return changes

    def _plan_space(self, space: Room | None, control: Room) -> list[RoomChange]:
        settings = self.settings
        part = f"space {settings.instance}"
        if space is None:
            return [_change(part, "space", ABSENT, "made", step=Step.MAKE_SPACE)]
        changes = self._plan_state(part, space, None)
        via = {"via": [settings.domain]}
        if not rooms.refers(space, rooms.CHILD, control.id, settings.domain):
            changes.append(
                _change(part, "control room", "not in it", "in it", step=Step.STATE,
                        room=space.id, kind=rooms.CHILD, key=control.id, content=via)
            )  # fmt: skip
        if not rooms.refers(control, rooms.PARENT, space.id, settings.domain):
            changes.append(
                _change(part, "control room's parent", ABSENT, "the space", step=Step.STATE,
                        room=control.id, kind=rooms.PARENT, key=space.id,
                        content={**via, "canonical": True})
            )  # fmt: skip
        known = space.members("join", "invite")
        changes += [
            _change(part, f"operator {operator}", "not invited", "invited", step=Step.INVITE,
                    room=space.id, key=operator)
            for operator in settings.operators
            if operator not in known
        ]  # fmt: skip
        return changes

    def _plan_state(self, part: str, room: Room, alias: str | None) -> list[RoomChange]:
        found = rooms.differences(self.settings, room, alias=alias)
        changes = [
            _change(part, kind, before, after, step=Step.STATE, room=room.id, kind=kind,
                    content=content)
            for kind, before, after, content in found
        ]  # fmt: skip
        if room.listed:
            changes.append(
                _change(part, "directory", "public", "private", step=Step.UNLIST, room=room.id)
            )
        return changes

    async def apply(self, change: RoomChange) -> None:
        """Make one change."""
        match change.step:
            case Step.SET_UP:
                state = await ControlRoom(self.api, self.settings).ensure()
                for finding in state.findings:
                    _log.warning("%s", finding.text)
            case Step.MAKE_SPACE:
                await self._make_space()
            case Step.STATE:
                path = _state_path(change.room, change.kind, change.key)
                await self.api.request("PUT", path, change.content)
            case Step.UNLIST:
                path = client_path("directory", "list", "room", change.room)
                await self.api.request("PUT", path, {"visibility": "private"})
            case Step.INVITE:
                path = client_path("rooms", change.room, "invite")
                await self.api.request("POST", path, {"user_id": change.key})

    async def _make_space(self) -> None:
        """Make an empty closed space; its power levels, members and child are later changes."""
        await self.api.request(
            "POST",
            client_path("createRoom"),
            {
                "preset": "private_chat",
                "visibility": "private",
                "creation_content": {
                    "type": rooms.SPACE_TYPE,
                    rooms.SPACE_OF: self.settings.instance,
                },
                "name": f"Agency {self.settings.instance}",
            },
        )


def _state_path(room: str, kind: str, key: str) -> str:
    return client_path("rooms", room, "state", kind, *([key] if key else []))


def _encrypted(part: str, room: Room) -> RoomChange:
    return _change(
        part,
        "encryption",
        str(room.content(rooms.ENCRYPTION).get("algorithm", "on")),
        "off",
        blocked="the room is encrypted, which cannot be undone: the bot cannot read commands",
        hint=f"remove the alias from {room.id}; a new control room is then made by the next run",
    )


def _down(error: MatrixError, url: str) -> Exception:
    if not error.doubtful and error.status is not None and error.status < 500:
        return error
    return PrerequisiteError(
        f"the homeserver does not answer: {error.message}",
        where=url,
        hint="see whether it runs: systemctl status matrix-synapse",
    )


def _change(
    part: str,
    what: str,
    before: str,
    after: str,
    *,
    step: Step | None = None,
    room: str = "",
    kind: str = "",
    key: str = "",
    content: dict[str, Any] | None = None,
    blocked: str | None = None,
    hint: str | None = None,
) -> RoomChange:
    return RoomChange(
        part=part,
        what=what,
        before=before,
        after=after,
        step=step,
        room=room,
        kind=kind,
        key=key,
        content=content or {},
        blocked=blocked,
        hint=hint,
    )


@asynccontextmanager
async def opened(settings: SynapseRoomsSettings) -> AsyncIterator[SynapseRooms]:
    """Open the reconciler, as the application service's bot."""
    token = read_credential(MATRIX_AS_TOKEN)
    async with client_session() as session:
        api = MatrixSession(settings.homeserver_url, session, token.reveal())
        yield SynapseRooms(api, settings, token)
