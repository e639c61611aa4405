"""State that the parts of a control plane share: resources, signals, and where it stands."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from agency.clock import Clock, new_id
from agency.control.acp_client import AcpClient
from agency.control.agents.inventory import Inventory
from agency.control.agents.staff import Staff
from agency.control.commands import Services
from agency.control.commands.status import Glance, glance
from agency.control.conditions import Conditions
from agency.control.config import ControlConfig
from agency.control.events import RoomChange
from agency.control.operations import Operation, Operations
from agency.control.operations.tally import Tally
from agency.control.rooms.taking import Taker
from agency.control.rooms.voice import Voice
from agency.control.runtimes.base import Runtime
from agency.control.service.http import HttpParts
from agency.control.service.upkeep import RoomUpkeep
from agency.control.store import agents
from agency.control.store.agents import AgentRecord, Change
from agency.errors import InternalError
from agency.listening import Inherited
from agency.matrix import ControlRoom, MatrixSession
from agency.secrets import SecretValue
from agency.store import Database, Hold

_ANSWER_S = 0.05  # how long an acknowledgement waits for the reply


@dataclass(frozen=True, slots=True)
class Tokens:
    """The two secrets of an application service, and what else this agency has.

    `alerts` is Alertmanager's token, `vault` the master keys of the vault.
    """

    as_token: SecretValue
    hs_token: SecretValue
    alerts: SecretValue | None = None
    vault: SecretValue | None = None

    def all(self) -> tuple[SecretValue, ...]:
        """Return those that there are."""
        keys = () if self.vault is None else map(SecretValue, self.vault.reveal().split())
        return tuple(
            each for each in (self.as_token, self.hs_token, self.alerts, *keys) if each is not None
        )


def new_trace() -> str:
    """Make a trace id."""
    return new_id("t")


class Side(Protocol):
    """The rooms beside the control room, as the other parts see them; see service.side_rooms."""

    def changed(self, change: RoomChange, *, calls_bot: bool) -> None:
        """Take note of a change of some room."""

    def doubt(self) -> None:
        """Take note that a message was refused."""

    def asking_room(self) -> str:
        """Return the approvals room; empty if nobody can be asked there."""

    def has_alias(self, alias: str) -> bool:
        """Return whether an alias is that of one of these rooms."""


@dataclass(slots=True)
class Shared:
    """The resources of a control plane, and what changes while it runs."""

    config: ControlConfig
    clock: Clock
    database: Database
    api: MatrixSession
    runtime: Runtime
    acp: AcpClient
    held: Hold
    conditions: Conditions
    inventory: Inventory
    handed: Inherited = field(default_factory=Inherited)
    inbox_wake: asyncio.Event = field(default_factory=asyncio.Event)
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    agents_changed: asyncio.Event = field(default_factory=asyncio.Event)
    room_id: str | None = None
    room: ControlRoom = field(init=False)
    voice: Voice = field(init=False)
    keeper: RoomUpkeep | None = None
    operations: Operations | None = None
    side: Side | None = None
    http: HttpParts = field(init=False)
    staff: Staff | None = None
    taker: Taker = field(init=False)
    services: Services | None = None  # of the handlers, once there are operations

    def __post_init__(self) -> None:
        self.room = ControlRoom(self.api, self.config)
        self.http = HttpParts.of(self.config, self.clock, self.database, self.running)
        self.voice = Voice(self.room.silence, self.clock)
        self.taker = Taker(self.api, self.config.bot_id)

    def follow(self, changes: Sequence[Change]) -> None:
        """Follow changes of agents that are in the store; the reconciler looks at them soon."""
        self.inventory.apply(changes)
        if changes:
            self.agents_changed.set()

    def room_changed(self, change: RoomChange) -> None:
        """Look at the control room again after a change there, or an operator's invitation."""
        called = change.invites == self.config.bot_id and change.sender in self.config.operators
        if called:
            self.room.invited(change.room_id, change.sender)
        if self.keeper is not None and (called or change.room_id == self.keeper.room_id):
            self.voice.changed()
            self.keeper.wake()
        if self.side is not None:
            self.side.changed(change, calls_bot=called)

    def refused_to_send(self) -> None:
        """Look again at whether the bot can speak: a message was given up."""
        self.voice.changed()
        if self.side is not None:
            self.side.doubt()

    def asking_room(self) -> str:
        """Return the approvals room while people can be asked there; empty if they cannot."""
        return "" if self.side is None else self.side.asking_room()

    def has_alias(self, alias: str) -> bool:
        """Return whether an alias is that of a room of the agency that there is."""
        if self.room_id is not None and alias == self.config.control_room_alias:
            return True
        return self.side is not None and self.side.has_alias(alias)

    def withdrawn(self, operation: Operation) -> None:
        """Let go of an operation that was withdrawn; before recovery the store says it all."""
        if self.operations is not None:
            self.operations.forget(operation)

    def is_own(self, user: str) -> bool:
        """Return whether a user is the bot or an agent."""
        agents = self.inventory.values()
        return user == self.config.bot_id or any(user == each.matrix_id for each in agents)

    async def records(self) -> Mapping[str, AgentRecord]:
        """Return the record of each agent in the inventory, by name."""
        return {record.name: record for record in await self.database.read(agents.records)}

    async def some_records(self, names: Collection[str]) -> Mapping[str, AgentRecord]:
        """Return the records of these agents, by name."""
        return await self.database.read(lambda c: agents.records_of(c, names))

    def running(self) -> Operations:
        """Return the operations; a handler runs for one of them, so there are any."""
        if self.operations is None:
            raise InternalError("a command runs before there are operations")
        return self.operations

    async def glance(self) -> Glance:
        """Return the control plane at a glance."""
        if self.services is None:
            raise InternalError("somebody asks before there are operations")
        return await glance(self.services)

    def tally(self) -> Tally:
        """Return the numbers of operations; none before there are operations."""
        return Tally() if self.operations is None else self.operations.tally

    async def wait_for_answer(self) -> None:
        """Wait until the next reply is settled, but at most 50 ms: a command may take long."""
        self.answered.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(_ANSWER_S):
                await self.answered.wait()
