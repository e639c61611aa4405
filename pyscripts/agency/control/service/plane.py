"""The control plane: its parts, assembled and run together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from agency.control.agents.reconciler import Reconciler
from agency.control.appservice.server import build_app
from agency.control.entrance.documents import enter_with_document
from agency.control.entrance.enter import Entrance
from agency.control.entrance.listener import serve as serve_commands
from agency.control.entrance.place import place_of
from agency.control.matrix.sending import Sender
from agency.control.operations import Operations
from agency.control.service import startup
from agency.control.service.asking import AskingService, build_asking
from agency.control.service.assembly import (
    build_appservice,
    build_lifecycle,
    build_notices,
    build_operations,
    build_sender,
    secrets_of,
)
from agency.control.service.notices import Notices
from agency.control.service.pruner import prune_often
from agency.control.service.reconcile import reconcile
from agency.control.service.shared import Shared, Tokens, new_trace
from agency.control.service.side_rooms import SideRooms, open_side_rooms
from agency.control.service.speaking import build_speaker
from agency.control.service.tasks import first_end
from agency.control.service.upkeep import RoomUpkeep
from agency.control.service.vaulting import VaultService, build_vault
from agency.control.service.watching import build_reconciler
from agency.control.store import facts, outbox
from agency.control.store.facts import Fact
from agency.errors import InternalError
from agency.matrix import Backoff
from agency.secrets import Redactor

_log = logging.getLogger(__name__)


# Together under the 5 s in which a clean stop must end.
_COMMAND_GRACE_S = 1.2
_ABANDON_S = 0.3
_FLUSH_S = 0.5


@dataclass(slots=True)
class ControlPlane(Shared):
    """The parts of a control plane, and the order in which they start and stop."""

    vault: VaultService | None = None
    delivering: asyncio.Task[None] | None = None
    asking: AskingService | None = None

    async def run(self, tokens: Tokens) -> None:
        """Serve until `stopping` is set.

        Raises:
            AgencyError: it could not start, or one of its parts ended.
        """
        lifecycle = build_lifecycle(self, tokens)
        sender = build_sender(self)
        vault = self.vault = build_vault(self, tokens, lifecycle, build_speaker(self, sender))
        app = build_app(build_appservice(self, tokens, sender, vault))
        runner = await startup.listen(app, self.config, self.handed)
        try:
            notices = build_notices(self, sender)
            await notices.restore()
            upkeep = self.keeper = await self._upkeep()
            asking = self.asking = build_asking(self, lifecycle, sender)
            operations = build_operations(
                self, lifecycle, upkeep.room_id or "", sender, vault, asking
            )
            self.operations = operations
            if self.staff is not None:
                await self.staff.open()
            watch = build_reconciler(self, lifecycle, operations, sender)
            await operations.safety.restore()
            await asking.follower.restore()
            if vault is not None:
                await vault.restore()
            side = await open_side_rooms(self, sender, Redactor(secrets_of(self, tokens)).redact)
            self.side = side
            async with self._taking_commands(operations) as working:
                finding = startup.set_up_room(upkeep, self.config, self.clock, Backoff(longest_s=5))
                room_id = await self._unless_stopped(finding, working)
                if room_id is not None:
                    self.room_id = room_id
                    await startup.announce(self.api)
                    await self._work(
                        operations, working, room_id, sender, upkeep, notices, watch, side
                    )
        finally:
            self.stopping.set()
            await runner.cleanup()

    @asynccontextmanager
    async def _taking_commands(self, operations: Operations) -> AsyncIterator[asyncio.Task[None]]:
        """Run operations that are asked for past the room, whether or not there is one."""
        values = None if self.vault is None else self.vault.waiting
        entrance = Entrance(operations, self.clock, new_trace, values)
        place = place_of(self.config.state_dir)
        async with (
            self.http.serving(self.config, self.inventory, entrance, self.handed, self.glance),
            serve_commands(place, partial(enter_with_document, entrance)),
        ):
            working = asyncio.create_task(operations.run(), name="operations")
            if self.vault is not None:  # agents that run need no room
                self.delivering = asyncio.create_task(self.vault.run(), name="delivery of secrets")
            try:
                yield working
            finally:
                self.stopping.set()
                if not working.done():
                    await self._wind_down(operations, working)
                ending = [each for each in (working, self.delivering) if each is not None]
                for task in ending:
                    task.cancel()
                await asyncio.gather(*ending, return_exceptions=True)

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
        watch: Reconciler,
        side: SideRooms,
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
            asyncio.create_task(side.run(), name="rooms beside the control room"),
        ]
        if self.delivering is not None:
            tasks.append(self.delivering)
        if self.asking is not None:
            tasks.append(
                asyncio.create_task(self.asking.follower.run(), name="approvals of agents' calls")
            )
        names = [*self.inventory]
        starting = asyncio.create_task(
            reconcile(names, operations.targets, operations, self.clock, new_trace),
            name="reconcile",
        )
        tasks.append(asyncio.create_task(watch.run(starting), name="watch over the agents"))
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
