"""The reconciler's loop: all agents are looked at every N seconds, and brought to their wish.

It acts through operations only, which wait in the queue of their agent behind what people asked
for; policy, audit log and the wish on record rule them as they rule every other. What the room is
told is committed together with the history that says so: no kill makes it say a thing twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from agency.clock import Clock
from agency.control.agents import kept, wording
from agency.control.agents.history import Difference, History, Respawns
from agency.control.agents.mending import Mender
from agency.control.agents.planning import Leave, Plan, plan
from agency.control.agents.seen import Document, Seen, drift_of
from agency.control.conditions import Code, Conditions
from agency.control.execution.lifecycle import Lifecycle
from agency.control.execution.observation import Observation
from agency.control.grammar.grammar import Grammar
from agency.control.operations import Operations
from agency.control.policy import SYSTEM
from agency.control.rooms.speaking import Speaker
from agency.control.runtimes.base import State
from agency.control.store import agents, audit, gosuto
from agency.control.store.agents import AgentRecord, InventoryChange
from agency.control.store.audit import AuditEntry, Outcome
from agency.control.store.outbox import StoredMessage
from agency.errors import AgencyError
from agency.store import Database

_log = logging.getLogger(__name__)

MOST_AN_HOUR = 12  # messages to the room; what changes meanwhile is told later, in one
_HOUR_S = 3600.0
_MOST_LINES = 10
_MOST_HEALS = 32  # at one time; the others have their turn in the next pass
_SPACING_S = 1.0  # between two passes, however often it is woken
# When a condition of an agent is over, by its history and whether it is to run.
_OVER: Mapping[Code, Callable[[History, bool], bool]] = {
    Code.AGENT_FAILED: lambda history, _up: not history.given_up,
    Code.GOSUTO_UNDELIVERED: lambda history, up: not up or history.holding.right_s is not None,
    Code.AGENT_LIES: lambda history, up: not up or history.is_trusted,
}
WATCH = "agents watch"  # as the audit log names what the reconciler noticed


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan for one agent, and what it was made from."""

    seen: Seen
    plan: Plan
    before: History
    record: AgentRecord


@dataclass(slots=True)
class Reconciler:
    """Loop over all agents; `every_s` 0 means never."""

    speaker: Speaker
    lifecycle: Lifecycle
    operations: Operations
    grammar: Grammar
    conditions: Conditions
    rules: Respawns = field(default_factory=Respawns)
    every_s: float = 30.0
    spacing_s: float = _SPACING_S
    woken: asyncio.Event = field(default_factory=asyncio.Event)  # look soon: something changed
    _histories: dict[str, History] | None = None
    _times: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_AN_HOUR))
    mender: Mender = field(init=False)
    database: Database = field(init=False)
    clock: Clock = field(init=False)

    def __post_init__(self) -> None:
        self.database, self.clock = self.speaker.database, self.speaker.clock
        self.mender = Mender(
            self.operations, self.grammar, self.clock, self.speaker.new_trace, self.woken
        )

    async def run(self, after: asyncio.Future[None]) -> None:
        """Look at all agents until cancelled, from when `after` is done: what starts them once."""
        await asyncio.wait([after])
        try:
            while self.every_s:
                self.woken.clear()
                try:
                    await self.look()
                except (AgencyError, SQLAlchemyError) as error:
                    _log.error("cannot look after the agents: %s", type(error).__name__)
                except Exception:  # noqa: BLE001 - a defect met in one pass ends no control plane
                    _log.exception("the agents could not be looked after")
                await asyncio.sleep(min(self.spacing_s, self.every_s))
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, self.every_s - self.spacing_s)):
                        await self.woken.wait()
            await asyncio.Event().wait()
        finally:
            await self.close()

    async def close(self) -> None:
        """Wait for no answer any more; the operations go on without it."""
        await self.mender.close()

    async def look(self) -> None:
        """Look at every agent that was ever commanded, and begin what mends it."""
        if self._histories is None:
            self._histories = await self.database.read(kept.read)
        records = await self.database.read(agents.commanded)
        records = {name: each for name, each in records.items() if name in self.lifecycle.agents}
        histories = {name: each for name, each in self._histories.items() if name in records}
        planned = await self._plan(records, histories)
        for each in await self._settle(planned):
            histories[each.seen.name] = each.plan.history
            if each.plan.heal is not None:
                self.mender.begin(each.seen, each.plan)
        self._histories = histories
        self._note(histories, {name for name, each in records.items() if not each.wish.is_down})

    async def settle(self) -> None:
        """Wait until what was begun is over."""
        await self.mender.settle()

    async def _plan(
        self, records: Mapping[str, AgentRecord], histories: Mapping[str, History]
    ) -> list[Planned]:
        """Observe, and plan for each agent; what changes nothing is left out."""
        asked = {name for name, record in records.items() if not record.wish.is_down}
        found = await self.lifecycle.survey([*records], self.speaker.new_trace(), asked=asked)
        documents = await self._documents(found)
        leave, now_s, made = await self._leave(), self.clock.steady(), list[Planned]()
        heals = self.mender.active
        for name, observation in found.items():
            if heals >= _MOST_HEALS:
                break  # the end of one of them wakes the next pass
            record, before = records[name], histories.get(name, History())
            seen = self._seen(record, observation, documents.get(name))
            planned = plan(seen, before, self.rules, leave, now_s, self.speaker.new_trace())
            heals += planned.heal is not None
            if planned != Plan(before):
                made.append(Planned(seen, planned, before, record))
        return made

    async def _documents(self, found: Mapping[str, Observation]) -> Mapping[str, Document]:
        """Compare what agents report that they hold with the newest versions."""
        reports = {name: each.report for name, each in found.items() if each.report is not None}

        def look(connection: Connection) -> dict[str, Document]:
            newest = gosuto.all_newest(connection)
            return {
                name: Document(
                    report.incarnation,
                    held := report.config_sha256,
                    newest[name].sha256,
                    newest[name].number,
                    is_version=held == newest[name].sha256
                    or gosuto.number_of(connection, name, held or "") is not None,
                )
                for name, report in reports.items()
                if name in newest
            }

        return await self.database.read(look)

    async def _leave(self) -> Leave:
        """Return what may be done: nothing in safe mode, and said, only so often."""
        safe = self.operations.rules.policy.safe_mode is not None
        full = len(self._times) == MOST_AN_HOUR
        often = full and self._times[0] + _HOUR_S > self.clock.steady()
        crowded = await self.database.read(self.speaker.is_crowded)
        return Leave(
            act=not safe, tell=not often and not crowded and self.speaker.room_id() is not None
        )

    def _seen(
        self, record: AgentRecord, observation: Observation, document: Document | None
    ) -> Seen:
        status = observation.status
        reason = status.detail or self.mender.failure_of(record.name)
        return Seen(
            name=record.name,
            wish=record.wish,
            wished_ts=record.changed_ts,
            known=record.observed,
            known_handle=record.handle,
            state=status.state,
            handle=status.handle,
            running_as=status.known_as if status.handle else "",
            reason=reason if status.state is not State.RUNNING else "",
            recovering=status.recovering,
            unheard=observation.problem or "",
            drift=drift_of(observation.entry.role, record.wish, observation.report),
            document=document,
            busy=self.mender.is_at(record.name) or self.operations.is_busy(record.name),
        )

    async def _settle(self, planned: list[Planned]) -> list[Planned]:
        """Commit what is kept, noticed and told; return the plans that still held then."""
        if not any(_is_kept(each) for each in planned):
            return planned
        now, room_id = self.clock.now_ms(), self.speaker.room_id()

        def commit(connection: Connection) -> tuple[list[Planned], StoredMessage | None]:
            holds = [each for each in planned if self._holds(connection, each)]
            kept.keep(
                connection,
                {each.seen.name: each.plan.history for each in holds if _is_kept(each)},
            )
            for each in holds:
                if each.plan.noticed is not None:
                    audit.append(connection, self.clock, _entry(each))
                if each.plan.seen:
                    agents.apply(connection, _observed(each.seen), now)
            lines = [each.plan.tell for each in holds if each.plan.tell]
            if not lines or room_id is None:
                return holds, None
            about = {"agents": [each.seen.name for each in holds if each.plan.tell][:_MOST_LINES]}
            return holds, self.speaker.queue(connection, _listed(lines), room_id, about=about)

        holds, queued = await self.database.write(commit)
        if queued is not None:
            self._times.append(self.clock.steady())
            self.speaker.say(queued)
        return holds

    def _holds(self, connection: Connection, each: Planned) -> bool:
        """Return whether nothing was done about an agent since it was observed."""
        name = each.seen.name
        return not self.operations.is_busy(name) and (
            agents.record_of(connection, name) == each.record
        )

    def _note(self, histories: Mapping[str, History], up: Collection[str]) -> None:
        """Note what is wrong with agents as conditions, and clear those that are over.

        `up` are the agents that are to run.
        """
        for name, history in histories.items():
            if history.given_up:
                hint = f"see !agency agents logs {name}, then say !agency agents respawn {name}"
                text = wording.given_up(name, history, self.mender.failure_of(name))
                self.conditions.note(Code.AGENT_FAILED, text, subject=name, hint=hint)
            why = self.mender.refusal_of(name)
            if why and history.is_without_document:
                hint = f"it is tried again so often only; now: !agency gosuto push {name}"
                text = f"{name} was not given the newest version of its Gosuto: {why}"
                self.conditions.note(Code.GOSUTO_UNDELIVERED, text, subject=name, hint=hint)
        for each in self.conditions.present():
            history_of = histories.get(each.subject, History())
            if each.code in _OVER and _OVER[each.code](history_of, each.subject in up):
                self.conditions.clear(each.code, each.subject)


def _is_kept(each: Planned) -> bool:
    """Return whether a plan has something for the store; waits and times are in memory only."""
    after, before = each.plan.history, each.before
    same = after.kept == before.kept
    return not (same or (after.is_empty and before.is_empty)) or bool(
        each.plan.tell or each.plan.noticed or each.plan.seen
    )


def _observed(seen: Seen) -> InventoryChange:
    return InventoryChange(seen.name, None, None, str(seen.state), seen.handle)


def _entry(each: Planned) -> AuditEntry:
    """Make the audit row of what was noticed."""
    noticed, seen = each.plan.noticed, each.seen
    assert noticed is not None  # the caller looked
    failed = noticed.what in (Difference.DEAD, Difference.SILENT)
    facts = audit.audit_detail(
        seen=noticed.what.value, reason=noticed.reason or None, wish=str(seen.wish),
        handle=seen.handle, before=seen.known_handle,
    )  # fmt: skip
    outcome = Outcome.FAILED if failed else Outcome.DONE
    return AuditEntry(noticed.trace, SYSTEM, WATCH, seen.name, outcome, facts)


def _listed(lines: Iterable[str]) -> str:
    every = [*lines]
    if len(every) <= _MOST_LINES:
        return "\n".join(every)
    rest = f"and {len(every) - _MOST_LINES} more: see !agency agents list"
    return "\n".join([*every[:_MOST_LINES], rest])
