"""Rooms beside the control room: for approvals, and for the audit log; each if the instance asks.

    keepers ──▶ ControlRoom.ensure, as the control room is kept; what they lack is a condition
    approvals room ──▶ Rules.approvals_room: commands there; prompts are posted there
    audit room ──▶ AuditTeller

None of it stops the control plane, or keeps it from being ready.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from agency import naming
from agency.control.conditions import Code
from agency.control.events import RoomChange
from agency.control.matrix.sending import Sender
from agency.control.service.shared import Shared
from agency.control.service.speaking import build_speaker
from agency.control.service.teller import AuditTeller
from agency.control.service.upkeep import RoomUpkeep
from agency.control.store import facts
from agency.control.store.facts import Fact
from agency.matrix import APPROVALS_ROOM, AUDIT_ROOM, ControlRoom, RoomKind


@dataclass(frozen=True, slots=True)
class SidePlan:
    """Facts about a room beside the control room; agents are in none of them."""

    instance: str
    bot_id: str
    control_room_alias: str
    operators: tuple[str, ...]
    members: tuple[str, ...]
    agents: tuple[()] = ()


@dataclass(frozen=True, slots=True)
class SideRoom:
    """One of these rooms: how it is made, and who keeps it."""

    alias: str
    room: ControlRoom
    keeper: RoomUpkeep

    @property
    def open_id(self) -> str | None:
        """The room's id while the bot can speak there; else None."""
        return self.keeper.room_id if self.keeper.is_open else None


@dataclass(slots=True)
class SideRooms:
    """The rooms that there are, and what runs for them."""

    approvals: SideRoom | None = None
    audit: SideRoom | None = None
    teller: AuditTeller | None = None
    _begun: bool = field(default=False)

    @property
    def present(self) -> tuple[SideRoom, ...]:
        """The rooms that the instance asks for."""
        return tuple(each for each in (self.approvals, self.audit) if each is not None)

    def has_alias(self, alias: str) -> bool:
        """Return whether an alias is that of a room that there is."""
        return any(each.alias == alias and each.keeper.room_id is not None for each in self.present)

    def asking_room(self) -> str:
        """Return the approvals room while people can be asked there; empty if they cannot."""
        return (self.approvals.open_id if self.approvals is not None else None) or ""

    def audit_room(self) -> str | None:
        """Return the audit room while it can be told; else None."""
        return None if self.audit is None else self.audit.open_id

    def changed(self, change: RoomChange, *, calls_bot: bool) -> None:
        """Look at a room again after its state changed, or after an operator's invitation."""
        for each in self.present:
            if calls_bot:
                each.room.invited(change.room_id, change.sender)
            if calls_bot or change.room_id == each.keeper.room_id:
                each.keeper.wake()

    def doubt(self) -> None:
        """Look at the rooms again: a message was refused."""
        for each in self.present:
            each.keeper.wake()

    async def run(self) -> None:
        """Keep the rooms until cancelled."""
        async with asyncio.TaskGroup() as group:
            for each in self.present:
                each.keeper.wake()  # the first look is at once
                group.create_task(each.keeper.run())
            if self.teller is not None:
                group.create_task(self.teller.run())
            await asyncio.Event().wait()


async def open_side_rooms(plane: Shared, sender: Sender, redact: Callable[[str], str]) -> SideRooms:
    """Make the rooms that the configuration asks for; nothing is asked of the homeserver yet."""
    config, made = plane.config, SideRooms()
    if config.rooms.approvals:
        made.approvals = await _side_room(
            plane,
            APPROVALS_ROOM,
            naming.APPROVALS_ROOM_LOCALPART,
            Fact.APPROVALS_ROOM,
            Code.APPROVALS_ROOM,
            config.approvers,
            lambda room_id: _commands_from(plane, room_id),
        )
    if config.rooms.audit:
        made.teller = teller = _teller(plane, sender, redact, made.audit_room)
        made.audit = await _side_room(
            plane,
            AUDIT_ROOM,
            naming.AUDIT_ROOM_LOCALPART,
            Fact.AUDIT_ROOM,
            Code.AUDIT_ROOM,
            config.members,
            lambda _room_id: teller.begin(),
        )
    return made


def _teller(
    plane: Shared, sender: Sender, redact: Callable[[str], str], room_id: Callable[[], str | None]
) -> AuditTeller:
    return AuditTeller(build_speaker(plane, sender, room_id), redact)


async def _side_room(
    plane: Shared,
    kind: RoomKind,
    localpart: str,
    fact: Fact,
    code: Code,
    members: tuple[str, ...],
    found: Callable[[str], Awaitable[None]],
) -> SideRoom:
    config = plane.config
    alias = naming.room_alias(localpart, config.domain)
    plan = SidePlan(config.instance, config.bot_id, alias, config.operators, members)
    room = ControlRoom(plane.api, plan, kind)

    async def moved(room_id: str) -> None:
        await plane.database.write(lambda c: facts.keep(c, fact, room_id))
        await found(room_id)

    known = await plane.database.read(lambda c: facts.read(c, fact))
    keeper = RoomUpkeep(room.ensure, plane.conditions, moved, room_id=known, beside=code)
    room.entered = keeper.entered
    if known is not None:
        await found(known)
    return SideRoom(alias, room, keeper)


async def _commands_from(plane: Shared, room_id: str) -> None:
    """Let decisions be given in the approvals room."""
    operations = plane.running()
    operations.rules = replace(operations.rules, approvals_room=room_id)
