"""The service that runs operations; the package's docstring has a diagram of its parts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace

from sqlalchemy.exc import SQLAlchemyError

from agency.clock import Clock
from agency.control.execution.classify import Rules
from agency.control.execution.replies import Reply, notice_message
from agency.control.execution.result import Handler
from agency.control.grammar.grammar import Grammar
from agency.control.grammar.parse import Command
from agency.control.operation import Operation, Origin, State
from agency.control.operations.admitting.admission import Bounds, Settled
from agency.control.operations.admitting.entries import store_reason
from agency.control.operations.admitting.messages import Messages
from agency.control.operations.admitting.withdrawal import WITHDRAWN
from agency.control.operations.approving.approvals import Approvals, Granted
from agency.control.operations.approving.plan import Planner, plan_nothing
from agency.control.operations.decisions import Decisions
from agency.control.operations.proposals import Calls, Proposals, Tell, Unkept, tell_nobody
from agency.control.operations.running.changes import Changes
from agency.control.operations.running.dispatch import (
    Dispatcher,
    HandIn,
    TakeAway,
    failed,
    leave_it,
    take_none,
)
from agency.control.operations.running.looks import Looks
from agency.control.operations.running.queues import TargetQueues
from agency.control.operations.running.recorder import Recorder
from agency.control.operations.running.recovery import recover
from agency.control.operations.running.showing import AFTER_S, EVERY_S, Cards
from agency.control.operations.running.targets import Targets
from agency.control.operations.safety import Safety
from agency.control.operations.strangers import Strangers
from agency.control.operations.tally import Tally
from agency.control.policy import ApprovalRule, SafeMode
from agency.control.store import outbox
from agency.control.store.agents import Change
from agency.control.store.inbox import StoredEvent
from agency.control.store.outbox import StoredMessage
from agency.matrix import Backoff
from agency.store import Database

_log = logging.getLogger(__name__)

_LONGEST_REST_S = 60.0  # between two checks of deadlines: the wall clock may be set


async def _no_obstacle(_room_id: str) -> str | None:
    """Let every change be answered."""
    return None


@dataclass(slots=True)
class Operations:
    """Public interface of this package.

    Set `wake` when events arrive; `say` gets queued replies.
    """

    database: Database
    clock: Clock
    rules: Rules
    grammar: Grammar
    handler: Callable[[Command], Handler]
    targets: Targets
    max_command_bytes: int
    max_outbox: int
    max_target_queue: int
    wake: asyncio.Event
    say: Callable[[StoredMessage], None]
    approval_wait_s: float = 3600.0
    obstacle: Callable[[str], Awaitable[str | None]] = _no_obstacle
    asking_room: Callable[[], str] = lambda: ""  # the approvals room, while it can be asked in
    plan: Planner = plan_nothing
    take_away: TakeAway = leave_it
    hand_in: HandIn = take_none
    backoff: Backoff = field(default_factory=Backoff)
    applied: Callable[[Sequence[Change]], None] = lambda _changes: None  # of the inventory
    card_pace_s: tuple[float, float] = (AFTER_S, EVERY_S)
    has_room: bool = True  # False: no message is admitted, until `enter_room`
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _calls: Calls = field(default_factory=Calls)
    _recovered: bool = False
    _recovery_done: asyncio.Event = field(default_factory=asyncio.Event)
    _recovery: asyncio.Lock = field(default_factory=asyncio.Lock)  # no proposals while recovering
    _fatal: BaseException | None = None
    decisions: Decisions = field(init=False)
    safety: Safety = field(init=False)
    unkept: Unkept = field(init=False)  # answers that the store does not have as they are
    _bounds: Bounds = field(init=False)
    _looks: Looks = field(init=False)
    _recorder: Recorder = field(init=False)
    _changes: Changes = field(init=False)
    _queues: TargetQueues = field(init=False)
    _approvals: Approvals = field(init=False)
    _messages: Messages = field(init=False)
    _strangers: Strangers = field(init=False)
    _proposals: Proposals = field(init=False)
    _dispatcher: Dispatcher = field(init=False)

    def __post_init__(self) -> None:
        self._looks = Looks(self._settle_failed, self._ended)
        self._proposals = Proposals(
            database=self.database,
            clock=self.clock,
            calls=self._calls,
            recovery=self._recovery,
            wake=self.wake,
            is_recovered=lambda: self._recovered,
            is_full=lambda: self.active >= self.max_outbox,
            max_age_s=lambda: self.rules.max_age_s,
        )
        self.unkept = self._proposals.unkept
        cards = Cards(
            self.database,
            self.clock,
            self.rules.bot_id,
            self.say,
            lambda: self.rules.room_id,
            self.max_outbox,
            *self.card_pace_s,
        )
        self._recorder = Recorder(
            cards=cards,
            database=self.database,
            clock=self.clock,
            as_user=self.rules.bot_id,
            say=self.say,
            backoff=self.backoff,
            pause=self._pause,
            is_stopping=self._is_stopping,
            answered=self._proposals.answer,
            told=self._proposals.tell,
            shown=self.unkept.put,
            applied=self.applied,
            plan=self.plan,
        )
        self._bounds = Bounds(self.grammar, self.max_command_bytes, self.approval_wait_s)
        self._changes = Changes(
            self._recorder,
            self.handler,
            self.targets,
            self._bounds,
            lambda: self.rules.policy,
            self._next_of,
            self.obstacle,
        )
        self._queues = TargetQueues(self._changes.run, self.max_target_queue, self._ended)
        self._approvals = Approvals(self.database, self.clock, lambda: self.rules.policy)
        self.decisions = Decisions(
            approvals=self._approvals,
            queues=self._queues,
            calls=self._calls,
            settle=self._changes.settle,
            forget=self.forget,
            plan_of=self._recorder.plan_of,
        )
        self.safety = Safety(
            self.database, self.clock, lambda: self.rules.policy.safe_mode, self._set_safe_mode
        )
        self._dispatcher = Dispatcher(
            recorder=self._recorder,
            clock=self.clock,
            rules=lambda: self.rules,
            bounds=self._bounds,
            changes=self._changes,
            queues=self._queues,
            approvals=self._approvals,
            spawn=self._looks.spawn,
            asking_room=self.asking_room,
            take_away=self.take_away,
            hand_in=self.hand_in,
        )
        self._messages = Messages(
            self.database,
            self.max_outbox,
            lambda: self.rules.policy.people.everybody,
            lambda: len(self._looks),
            lambda: self.active,
            self._dispatcher.event,
        )
        self._strangers = Strangers(
            recorder=self._recorder,
            clock=self.clock,
            operators=lambda: self.rules.policy.people.everybody,
            judge=self._dispatcher.judge,
            admit=self._dispatcher.event,
        )

    async def run(self) -> None:
        """Admit and execute until `stop` is called; then finish what has begun."""
        failures = 0
        try:
            while not self._stop.is_set():
                self.wake.clear()
                try:
                    more = await self.step()
                    failures = 0
                except SQLAlchemyError as error:
                    failures += 1
                    _log.error("cannot use the store: %s", store_reason(error))
                    await self._pause(self.backoff.delay_s(failures))
                    continue
                if not more and not self._stop.is_set():
                    await self._rest_until_woken()
            await self.rest()
            with suppress(SQLAlchemyError):  # what is counted stays in the inbox
                await self.conclude()
        finally:
            await self.close()

    async def conclude(self) -> None:
        """Put on record what was counted and not recorded so far."""
        await self._strangers.flush()

    async def attended(self, target: str) -> bool:
        """Wait until what an earlier run left for a target is answered.

        Returns True if the target was brought to its wish then.
        """
        await self._recovery_done.wait()
        await self._queues.quiet(target)
        return target in self._changes.attended

    def is_busy(self, target: str) -> bool:
        """Return whether an operation of a target runs or waits for its turn."""
        return self._queues.has(target)

    def enter_room(self, rules: Rules) -> None:
        """Admit messages from now on, by these rules."""
        self.rules = rules
        self.has_room = True
        self.wake.set()

    async def announce(self, text: str, trace: str) -> None:
        """Queue a message to the control room that answers no command, once for each trace."""
        message = notice_message(text, self.rules.room_id, as_user=self.rules.bot_id, trace=trace)
        now = self.clock.now_ms()
        queued = await self.database.write(lambda c: outbox.add(c, message, now))
        if queued is not None:
            self.say(queued)

    def stop(self) -> None:
        """Begin nothing more; operations that have begun are finished."""
        self._stop.set()
        self.wake.set()

    def abandon(self) -> None:
        """Cancel what has begun. Changes stay marked as running, for the next start to answer."""
        for task in self._running():
            task.cancel()

    async def close(self) -> None:
        """Abandon what has begun, and wait until its tasks have ended."""
        self.abandon()
        await asyncio.gather(*self._running(), *self._calls.tasks, return_exceptions=True)

    @property
    def active(self) -> int:
        """The number of operations and refusals that run or wait for their turn."""
        return len(self._looks) + self._queues.active

    @property
    def tally(self) -> Tally:
        """Numbers of operations now, and of those that ended since the start."""
        return Tally(len(self._approvals.waiting), self.active, self._recorder.ended)

    async def rest(self) -> None:
        """Wait until nothing runs or waits for its turn."""
        while tasks := self._running():
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0)  # callbacks of the ended task run first
            self._raise_fatal()

    async def step(self) -> bool:
        """Admit what can be admitted now; return whether there may be more at once.

        Without a room nothing is done until a proposal comes: what an earlier run left is taken up
        then, and what was asked in the room meets the obstacle to answering there.
        """
        self._raise_fatal()
        if not self.has_room and not self._proposals.came:
            return False
        async with self._recovery:
            if not self._recovered:
                await self._recover()
        for late in self._approvals.due():
            self._looks.spawn(self._changes.expire(late))
        waiting = self._proposals.waiting
        while waiting:
            await self._dispatcher.proposed(waiting[0])
            waiting.popleft()
        more = more_refused = False
        if self.has_room:
            more = await self._messages.step()
            more_refused = await self._strangers.step()
        self._raise_fatal()
        return more or more_refused

    async def propose(self, command: Command, origin: Origin, actor: str, trace: str) -> Operation:
        """Store a command that did not come as a message. Proposing it again changes nothing.

        Raises:
            IdUsedError: the origin's id stands for another command already.
            RefusalError: too many commands are under way.
        """
        return await self._proposals.propose(command, origin, actor, trace)

    async def ask(
        self,
        command: Command,
        origin: Origin,
        actor: str,
        trace: str,
        tell: Tell = tell_nobody,
    ) -> Reply:
        """Propose a command and wait for its answer; `tell` gets the reports before it.

        Raises as `propose` does.
        """
        return await self._proposals.ask(command, origin, actor, trace, tell)

    def following(self, operation: str) -> AbstractContextManager[asyncio.Event]:
        """Yield an event that is set at each report and at the end of an operation by its id."""
        return self._proposals.following(operation)

    async def record(self, settled: Settled, origin: Origin, trace: str) -> None:
        """Put on record what was proposed and became no operation."""
        await self._dispatcher.settle(settled, origin, trace, None)

    async def grant(self, beginning: str, by: str, confirmed: str | None = None) -> Granted:
        """Approve the waiting operation whose id begins so; see `Decisions.grant`."""
        return await self.decisions.grant(beginning, by, confirmed)

    def forget(self, operation: Operation) -> None:
        """Let go of an operation that was withdrawn in the store, and answer who waits for it."""
        self._approvals.waiting.pop(operation.id, None)
        self._queues.discard(operation)
        self._proposals.answer(operation.id, WITHDRAWN)

    def stand(self, standing: tuple[ApprovalRule, ...]) -> None:
        """Put the rules into force that follow from what is kept."""
        self.rules = replace(self.rules, policy=replace(self.rules.policy, standing=standing))

    def _set_safe_mode(self, mode: SafeMode | None) -> None:
        self.rules = replace(self.rules, policy=replace(self.rules.policy, safe_mode=mode))

    def _next_of(self, target: str) -> Operation | None:
        return self._queues.next_of(target)

    async def _recover(self) -> None:
        """Queue the unfinished operations of an earlier run, each target's in order."""
        left = await recover(self._recorder, self._bounds, self.rules.max_age_s)
        # An operation that was running is answered before those that waited behind it.
        for operation in (*left[State.RUNNING], *left[State.GRANTED]):
            self._queues.put(operation)
        for operation in left[State.WAITING]:
            self._approvals.add(operation)
        self._proposals.waiting.extend(left[State.PROPOSED])
        self._recovered = True
        self._recovery_done.set()

    async def _settle_failed(self, stored: StoredEvent) -> None:
        """Record a message that met a defect."""
        origin = Origin.of_event(stored.event)
        await self._dispatcher.settle(failed(stored), origin, stored.trace, stored.sequence)

    def _ended(self, error: BaseException | None) -> None:
        """Note the end of a task; its error stops the whole service."""
        if error is not None:
            self._fatal = error
        if self._messages.full_up or error is not None:
            self.wake.set()

    def _is_stopping(self) -> bool:
        """Return whether nothing more may begin: `stop` was called, or a task failed."""
        return self._stop.is_set() or self._fatal is not None

    def _raise_fatal(self) -> None:
        if self._fatal is not None:
            raise self._fatal

    def _running(self) -> list[asyncio.Task[None]]:
        return [*self._looks.tasks, *self._queues.tasks]

    async def _rest_until_woken(self) -> None:
        waits = (self._approvals.next_s(), self._strangers.next_s())
        wait_s = min((each for each in waits if each is not None), default=None)
        with suppress(TimeoutError):
            async with asyncio.timeout(None if wait_s is None else min(wait_s, _LONGEST_REST_S)):
                await self.wake.wait()

    async def _pause(self, seconds: float) -> None:
        """Sleep, but wake when `stop` is called."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()
