"""Follower of what agents ask: every few seconds each is asked, and the record made to agree.

It begins with what is on record, so that a restart of either side loses nothing: decisions that no
agent took are sent again, and what came or went meanwhile is seen.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from agency.control.ask import MOST_PROMPTS, Ask, State, ask_id
from agency.control.asking.delivery import Agents, Delivery
from agency.control.asking.planning import MOST_AN_HOUR, MOST_OPEN, Plan, expires_ts, plan
from agency.control.asking.recording import guide_of
from agency.control.asking.wording import prompt_id
from agency.control.rooms.speaking import Speaker
from agency.control.store import asks, outbox
from agency.control.store.outbox import StoredMessage
from agency.errors import AgencyError
from agency.protocols import PendingApproval

_log = logging.getLogger(__name__)

EVERY_S = 5.0
_TOGETHER = 8  # agents that are asked at one time
_HOUR_MS = 3600 * 1000


@dataclass(frozen=True, slots=True)
class Place:
    """A room for prompts, and how people are told of it as the place where typed words count."""

    room_id: str
    name: str


# The room for prompts: that of an agent's Gosuto, if the bot can speak there, or another; None if
# nobody can be asked now.
Places = Callable[[str], Awaitable[Place | None]]


@dataclass(slots=True)
class Follower:
    """Follower. `listen` is given the rooms in which prompts wait."""

    agents: Agents
    delivery: Delivery
    place: Places
    listen: Callable[[frozenset[str]], None]
    every_s: float = EVERY_S

    @property
    def speaker(self) -> Speaker:
        """The speaker that queues messages."""
        return self.delivery.recorder.speaker

    async def restore(self) -> None:
        """Listen where prompts of an earlier run wait; call it before any message is taken."""
        found = await self.delivery.database.read(asks.waiting)
        self.listen(frozenset(each.room_id for each in found))

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                await self.look()
            except (AgencyError, SQLAlchemyError) as error:
                _log.error("cannot follow what agents ask: %s", type(error).__name__)
            except Exception:  # noqa: BLE001 - a defect met in one pass ends no control plane
                _log.exception("what agents ask could not be followed")
            await asyncio.sleep(self.every_s)

    async def look(self) -> None:
        """Ask every agent once, and send what was decided."""
        names = self.agents.names()
        await self._end_without(frozenset(names))
        turns = asyncio.Semaphore(_TOGETHER)

        async def one(name: str) -> None:
            async with turns:
                try:
                    await self._deliver(name)
                    await self._follow(name)
                except SQLAlchemyError:
                    raise  # of every agent
                except AgencyError as error:
                    _log.debug("cannot tell what %s asks: %s", name, error.message)
                except Exception:  # noqa: BLE001 - what one agent says hides no other
                    _log.exception("what %s asks could not be followed", name)

        await asyncio.gather(*(one(name) for name in names))
        await self.restore()

    async def _end_without(self, names: frozenset[str]) -> None:
        """End what is late, and what agents asked that are no more."""
        now = self.speaker.clock.now_ms()
        for ask in await self.delivery.database.read(asks.waiting):
            if ask.is_late(now) and ask.state is State.WAITING:
                await self.delivery.end(ask.id, State.EXPIRED)
            elif ask.is_late(now):
                await self.delivery.deliver(ask.id)
            elif ask.agent not in names:
                await self.delivery.end(ask.id, State.GONE, f"There is no agent {ask.agent}.")

    async def _deliver(self, name: str) -> None:
        for ask in await self.delivery.database.read(lambda c: asks.waiting_of(c, name)):
            if ask.state is not State.DECIDED:
                continue
            after, _ = await self.delivery.deliver(ask.id)
            if after is not None and after.state is State.DECIDED:
                return  # it does not answer: each further one would wait as long

    async def _follow(self, name: str) -> None:
        """Put on record what an agent asks now, and what it asks no more."""
        before = await self._on_record(name, ())
        pending = await self.agents.pending(name, self.speaker.new_trace())
        if pending is None or not (pending or before):
            return
        on_record = before | await self._on_record(name, pending)
        made = plan(
            name, pending, on_record, self.speaker.clock.now_ms(), await self._room_for(name)
        )
        for ask in made.gone:
            await self._end_gone(ask)
        if made.left:
            await self._tell_left(name, made.left)
        if made.new or made.again:
            await self._ask(name, made)
        await self._ask_elsewhere(name)

    async def _on_record(self, name: str, pending: Sequence[PendingApproval]) -> dict[str, Ask]:
        ids = [ask_id(name, each.id, each.digest) for each in pending]

        def look(connection: Connection) -> dict[str, Ask]:
            waiting = {each.id: each for each in asks.waiting_of(connection, name)}
            return waiting | asks.known(connection, ids)

        return await self.delivery.database.read(look)

    async def _room_for(self, name: str) -> int:
        """Return how many more prompts there may be for an agent now."""
        since = self.speaker.clock.now_ms() - _HOUR_MS

        def look(connection: Connection) -> int:
            if self.speaker.is_crowded(connection):
                return 0
            left = MOST_AN_HOUR - asks.count_since(connection, name, since)
            return max(0, min(left, MOST_OPEN - asks.count_open(connection)))

        return await self.delivery.database.read(look)

    async def _end_gone(self, ask: Ask) -> None:
        """End what an agent asks no more, if nobody decided meanwhile."""

        def change(connection: Connection) -> list[StoredMessage]:
            now = asks.find(connection, ask.id)
            if now is None or now.state is not State.WAITING:
                return []
            why = (
                f"{ask.agent} asks it no more: its program gave up, its policy changed, or it was "
                "decided on the machine."
            )
            return self.delivery.recorder.end(connection, now, State.GONE, why)

        self._say(await self.delivery.database.write(change))

    async def _ask(self, name: str, made: Plan) -> None:
        """Put new asks on record, and queue their prompts."""
        guide = await self.delivery.database.read(lambda c: guide_of(c, name))
        place = await self.place(guide.room_id)
        if place is None:
            return  # nobody can be asked; the agent waits, and so its next listing has it again
        now = self.speaker.clock.now_ms()
        new = [self._made(name, each, place, now) for each in made.new]
        recorder = self.delivery.recorder

        def change(connection: Connection) -> list[StoredMessage]:
            queued: list[StoredMessage] = []
            for ask in new:
                queued += recorder.begin(connection, ask, place.name)
            for before, each in made.again:
                fresh = self._made(name, each, place, now)
                after = replace(fresh, prompts=before.prompts + 1, decided_ts=before.decided_ts)
                queued += recorder.reopen(connection, before, after, place.name)
            return queued

        queued = await self.delivery.database.write(change)
        await self.restore()  # listen there before the prompt can be seen
        self._say(queued)

    async def _ask_elsewhere(self, name: str) -> None:
        """Ask again what the homeserver did not take in the room of the agent's Gosuto."""

        def lost(connection: Connection) -> list[Ask]:
            return [
                each
                for each in asks.waiting_of(connection, name)
                if each.state is State.WAITING
                and each.prompts < MOST_PROMPTS
                and outbox.is_given_up(connection, prompt_id(each))
            ]

        found = await self.delivery.database.read(lost)
        place = await self.place("") if found else None
        if place is None:
            return

        def change(connection: Connection) -> list[StoredMessage]:
            queued: list[StoredMessage] = []
            for before in found:
                after = replace(before, room_id=place.room_id, prompts=before.prompts + 1)
                queued += self.delivery.recorder.reopen(connection, before, after, place.name)
            return queued

        self._say(await self.delivery.database.write(change))

    def _made(self, name: str, each: PendingApproval, place: Place, now_ms: int) -> Ask:
        return Ask(
            id=ask_id(name, each.id, each.digest),
            agent=name,
            number=each.id,
            kind=each.kind,
            tool=each.tool,
            digest=each.digest,
            rule=each.rule,
            shown=each.shown,
            asked_ts=now_ms,
            expires_ts=expires_ts(each, now_ms),
            trace=self.speaker.new_trace(),
            room_id=place.room_id,
        )

    async def _tell_left(self, name: str, left: int) -> None:
        """Tell the control room once an hour that an agent asks too much."""
        room_id = self.speaker.room_id()
        if room_id is None:
            return
        hour = self.speaker.clock.now_ms() // _HOUR_MS
        text = (
            f"{name} asks for more approvals than people can be asked: {left} wait without a "
            f"prompt. There are at most {MOST_AN_HOUR} an hour for one agent."
        )
        queued = await self.delivery.database.write(
            lambda c: self.speaker.queue(c, text, room_id, trace=f"asks-{name}-{hour}")
        )
        self._say([] if queued is None else [queued])

    def _say(self, queued: Sequence[StoredMessage]) -> None:
        for message in queued:
            self.speaker.say(message)
