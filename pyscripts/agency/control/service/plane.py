"""The control plane: its parts, assembled and run together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from agency import naming
from agency.clock import Clock, new_id
from agency.control.acp_client import AcpClient
from agency.control.alerts.intake import AlertIntake
from agency.control.appservice.access import OwnNames
from agency.control.appservice.alerts import AlertsPage
from agency.control.appservice.readiness import Readiness
from agency.control.appservice.refusals import Refusals
from agency.control.appservice.server import AppService, build_app
from agency.control.appservice.transactions import Intake
from agency.control.commands import GRAMMAR, Services, looks_like_command
from agency.control.commands.registry import build_handlers
from agency.control.conditions import Conditions
from agency.control.config import ControlConfig
from agency.control.entrance.enter import Entrance, enter
from agency.control.entrance.listener import serve as serve_commands
from agency.control.entrance.place import place_of
from agency.control.events import RoomChange
from agency.control.execution.address import speaks_to, without_mention
from agency.control.execution.classify import Rules
from agency.control.execution.lifecycle import Lifecycle
from agency.control.matrix.sending import Sender
from agency.control.operations import Operation, Operations
from agency.control.operations.admission import Bounds
from agency.control.operations.approvals import meant_by
from agency.control.rooms.deletions import Deletions
from agency.control.rooms.voice import Voice
from agency.control.runtimes.base import Runtime
from agency.control.service import startup
from agency.control.service.notices import Notices
from agency.control.service.pruner import prune_often
from agency.control.service.reconcile import reconcile
from agency.control.service.targets import AgentTargets
from agency.control.service.tasks import first_end
from agency.control.service.upkeep import RoomUpkeep
from agency.control.store import agents, facts, outbox
from agency.control.store.agents import AgentRecord
from agency.control.store.facts import Fact
from agency.control.store.passwords import url_secrets
from agency.errors import InternalError
from agency.listening import Inherited
from agency.matrix import Backoff, ControlRoom, MatrixSession
from agency.secrets import Redactor, SecretValue
from agency.store import Database, Hold

_log = logging.getLogger(__name__)

_ANSWER_S = 0.05  # how long an acknowledgement waits for the reply
# Together under the 5 s in which a clean stop must end.
_COMMAND_GRACE_S = 1.2
_ABANDON_S = 0.3
_FLUSH_S = 0.5


@dataclass(frozen=True, slots=True)
class Tokens:
    """The two secrets of an application service, and Alertmanager's if it has alerts to deliver."""

    as_token: SecretValue
    hs_token: SecretValue
    alerts: SecretValue | None = None

    def all(self) -> tuple[SecretValue, ...]:
        """Return those that there are."""
        return tuple(
            each for each in (self.as_token, self.hs_token, self.alerts) if each is not None
        )


def new_trace() -> str:
    """Make a trace id."""
    return new_id("t")


@dataclass(slots=True)
class ControlPlane:
    """The parts of a control plane, and the order in which they start and stop."""

    config: ControlConfig
    clock: Clock
    database: Database
    api: MatrixSession
    runtime: Runtime
    acp: AcpClient
    held: Hold
    conditions: Conditions
    handed: Inherited = field(default_factory=Inherited)
    inbox_wake: asyncio.Event = field(default_factory=asyncio.Event)
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    room_id: str | None = None
    room: ControlRoom = field(init=False)
    voice: Voice = field(init=False)
    keeper: RoomUpkeep | None = None
    operations: Operations | None = None

    def __post_init__(self) -> None:
        self.room = ControlRoom(self.api, self.config)
        self.voice = Voice(self.room.silence, self.clock)

    async def run(self, tokens: Tokens) -> None:
        """Serve until `stopping` is set.

        Raises:
            AgencyError: it could not start, or one of its parts ended.
        """
        lifecycle = self._lifecycle(tokens)
        sender = self._sender()
        app = build_app(self._appservice(tokens, sender))
        runner = await startup.listen(app, self.config, self.handed)
        try:
            notices = self._notices(sender)
            await notices.restore()
            upkeep = self.keeper = await self._upkeep()
            operations = self._operations(lifecycle, upkeep.room_id or "", sender)
            self.operations = operations
            await operations.safety.restore()
            async with self._taking_commands(operations) as working:
                finding = startup.set_up_room(upkeep, self.config, self.clock, Backoff(longest_s=5))
                room_id = await self._unless_stopped(finding, working)
                if room_id is not None:
                    self.room_id = room_id
                    await startup.announce(self.api)
                    await self._work(operations, working, room_id, sender, upkeep, notices)
        finally:
            self.stopping.set()
            await runner.cleanup()

    @asynccontextmanager
    async def _taking_commands(self, operations: Operations) -> AsyncIterator[asyncio.Task[None]]:
        """Run operations that are asked for past the room, whether or not there is one."""
        entrance = Entrance(operations, self.clock, new_trace)
        place = place_of(self.config.state_dir)
        async with serve_commands(place, partial(enter, entrance)):
            working = asyncio.create_task(operations.run(), name="operations")
            try:
                yield working
            finally:
                self.stopping.set()
                if not working.done():
                    await self._wind_down(operations, working)
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)

    def _room_changed(self, change: RoomChange) -> None:
        """Look at the control room again after a change there, or an operator's invitation."""
        called = change.invites == self.config.bot_id and change.sender in self.config.operators
        if called:
            self.room.invited(change.room_id, change.sender)
        if self.keeper is not None and (called or change.room_id == self.keeper.room_id):
            self.voice.changed()
            self.keeper.wake()

    def _withdrawn(self, operation: Operation) -> None:
        """Let go of an operation that was withdrawn; before recovery the store says it all."""
        if self.operations is not None:
            self.operations.forget(operation)

    async def _upkeep(self) -> RoomUpkeep:
        """Make the keeper of the control room, which knows the room of the last start."""
        upkeep = RoomUpkeep(
            ensure=self.room.ensure,
            conditions=self.conditions,
            moved=self._room_moved,
            room_id=await self.database.read(lambda c: facts.read(c, Fact.CONTROL_ROOM)),
        )
        self.room.entered = upkeep.entered
        return upkeep

    async def _room_moved(self, room_id: str) -> None:
        """Keep the id of the control room, and serve that room if one is served already."""
        await self.database.write(lambda c: facts.keep(c, Fact.CONTROL_ROOM, room_id))
        operations = self.operations
        if operations is not None and operations.has_room:
            self.room_id = room_id
            rules = operations.rules
            former = rules.former | {rules.room_id}
            operations.rules = replace(rules, room_id=room_id, former=former)

    async def _work(
        self,
        operations: Operations,
        working: asyncio.Task[None],
        room_id: str,
        sender: Sender,
        upkeep: RoomUpkeep,
        notices: Notices,
    ) -> None:
        former = frozenset({upkeep.predecessor} - {""})
        operations.enter_room(replace(operations.rules, room_id=room_id, former=former))
        tasks = [
            working,
            asyncio.create_task(sender.run(), name="sender"),
            asyncio.create_task(
                prune_often(self.database, self.clock, self.config.limits), name="pruner"
            ),
            asyncio.create_task(self.held.watch(), name="hold on the database"),
            asyncio.create_task(upkeep.run(), name="upkeep of the room"),
            asyncio.create_task(notices.run(), name="notices of conditions"),
        ]
        names = [agent.name for agent in self.config.agents]
        starting = asyncio.create_task(
            reconcile(names, operations.targets, operations, self.clock, new_trace),
            name="reconcile",
        )
        told = asyncio.create_task(self.stopping.wait(), name="stop")
        fields = {"room": room_id, "port": self.config.listen_port}
        _log.info("ready", extra={"fields": fields})
        try:
            await first_end([*tasks, told], starting)
        finally:
            told.cancel()
            self.stopping.set()
            starting.cancel()
            await self._wind_down(operations, working)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, starting, told, return_exceptions=True)

    async def _wind_down(self, operations: Operations, working: asyncio.Task[None]) -> None:
        """Finish the operations that have begun and send their replies; both have a time limit."""
        operations.stop()
        done, _ = await asyncio.wait([working], timeout=_COMMAND_GRACE_S)
        if not done:
            operations.abandon()
            await asyncio.wait([working], timeout=_ABANDON_S)
        with suppress(SQLAlchemyError, TimeoutError):
            async with asyncio.timeout(_FLUSH_S):
                await self._all_sent()

    async def _all_sent(self) -> None:
        while True:
            self.inbox_wake.clear()
            if not await self.database.read(outbox.pending):
                return
            await self.inbox_wake.wait()

    async def _unless_stopped(
        self, work: Coroutine[Any, Any, str], working: asyncio.Task[None]
    ) -> str | None:
        """Return the result of `work`, or None if `stopping` was set first.

        Raises:
            InternalError: `working` ended first.
        """
        task = asyncio.create_task(work)
        told = asyncio.create_task(self.stopping.wait())
        try:
            await asyncio.wait([task, told, working], return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                raise InternalError(f"{working.get_name()} ended") from working.exception()
            return task.result() if task.done() else None
        finally:
            for each in (task, told):
                each.cancel()
            await asyncio.gather(task, told, return_exceptions=True)

    async def _records(self) -> Mapping[str, AgentRecord]:
        return {record.name: record for record in await self.database.read(agents.records)}

    def _lifecycle(self, tokens: Tokens) -> Lifecycle:
        return Lifecycle(
            agents={agent.name: agent for agent in self.config.agents},
            runtime=self.runtime,
            acp=self.acp,
            limits=self.config.limits,
            records=self._records,
            secrets=self._secrets(tokens),
        )

    def _secrets(self, tokens: Tokens) -> tuple[SecretValue, ...]:
        return (*tokens.all(), *url_secrets(self.config.database_url))

    def _alerts(self, tokens: Tokens, sender: Sender) -> AlertsPage | None:
        if tokens.alerts is None:
            return None
        intake = AlertIntake(
            database=self.database,
            clock=self.clock,
            conditions=self.conditions,
            room_id=lambda: self.room_id,
            as_user=self.config.bot_id,
            new_trace=new_trace,
            redact=Redactor(self._secrets(tokens)).redact,
            say=sender.offer,
            max_outbox=self.config.limits.max_outbox,
        )
        return AlertsPage(tokens.alerts, intake, self.stopping.is_set)

    def _appservice(self, tokens: Tokens, sender: Sender) -> AppService:
        config = self.config
        own = {config.bot_id, *(agent.matrix_id for agent in config.agents)}
        intake = Intake(
            database=self.database,
            clock=self.clock,
            new_trace=new_trace,
            looks_like_command=lambda text: looks_like_command(
                without_mention(text, config.bot_id)
            ),
            speaks_to_us=lambda event: speaks_to(event, config.bot_id),
            max_inbox=config.limits.max_inbox,
            wake=self.inbox_wake,
            conditions=self.conditions,
            take_back=Deletions(
                self.clock,
                config.policy,
                Bounds(GRAMMAR, config.limits.max_command_bytes, config.limits.approval_wait_s),
            ),
            forget=self._withdrawn,
            changed=self._room_changed,
            resolve=partial(meant_by, config.policy),
        )
        readiness = Readiness(
            database=self.database,
            api=self.api,
            intake=intake,
            clock=self.clock,
            bot_id=config.bot_id,
            room_id=lambda: self.room_id,
            conditions=self.conditions,
        )
        return AppService(
            hs_token=tokens.hs_token,
            intake=intake,
            max_body=config.limits.max_transaction_bytes,
            user_exists=own.__contains__,
            alias_exists=lambda alias: (
                self.room_id is not None and alias == naming.control_room_alias(config.domain)
            ),
            readiness=readiness.observe,
            is_ready=readiness.is_ready,
            answered=self._wait_for_answer,
            stopping=self.stopping.is_set,
            conditions=self.conditions,
            refusals=Refusals(self.conditions),
            names=OwnNames(config.listen_host),
            numbers=readiness.numbers,
            alerts=self._alerts(tokens, sender),
        )

    def _operations(self, lifecycle: Lifecycle, room_id: str, sender: Sender) -> Operations:
        handlers = build_handlers(
            Services(
                self.clock,
                self.database,
                lifecycle,
                GRAMMAR,
                self.conditions,
                decisions=lambda: self._running().decisions,
                safety=lambda: self._running().safety,
                started_s=self.clock.steady(),
            )
        )
        return Operations(
            database=self.database,
            clock=self.clock,
            rules=Rules.from_config(self.config, room_id, looks_like_command),
            grammar=GRAMMAR,
            handler=lambda command: handlers[command.name],
            targets=AgentTargets(lifecycle),
            approval_wait_s=self.config.limits.approval_wait_s,
            max_command_bytes=self.config.limits.max_command_bytes,
            max_outbox=self.config.limits.max_outbox,
            max_target_queue=self.config.limits.max_target_queue,
            wake=self.inbox_wake,
            say=sender.offer,
            obstacle=self.voice.obstacle,
            has_room=False,
        )

    def _running(self) -> Operations:
        """Return the operations; a handler runs for one of them, so there are any."""
        if self.operations is None:
            raise InternalError("a command runs before there are operations")
        return self.operations

    def _notices(self, sender: Sender) -> Notices:
        return Notices(
            database=self.database,
            clock=self.clock,
            conditions=self.conditions,
            room_id=lambda: self.room_id,
            as_user=self.config.bot_id,
            new_trace=new_trace,
            say=sender.offer,
            max_outbox=self.config.limits.max_outbox,
        )

    def _sender(self) -> Sender:
        return Sender(
            database=self.database,
            api=self.api,
            clock=self.clock,
            attempts=self.config.limits.send_attempts,
            backoff=Backoff(),
            settled=self.inbox_wake,
            answered=self.answered,
            given_up=self.voice.changed,
        )

    async def _wait_for_answer(self) -> None:
        """Wait until the next reply is settled, but at most 50 ms: a command may take long."""
        self.answered.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(_ANSWER_S):
                await self.answered.wait()
