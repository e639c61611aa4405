"""Proposals: commands that did not come as messages, from the CLI, HTTP or the reconciler."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from agency.clock import Clock
from agency.control.execution.replies import Reply
from agency.control.execution.result import RefusalError
from agency.control.grammar.parse import Command
from agency.control.operation import FINAL, Operation, Origin, State, operation_id
from agency.control.operations.admitting import admission
from agency.control.store import operations
from agency.store import Database

T = TypeVar("T")

MOST = 100  # proposals that wait for admission
_SHOWN_S = 600.0  # for how long an answer that is not kept may be asked for


@dataclass(slots=True)
class Calls:
    """Calls from outside that are finished even if their caller is cancelled."""

    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    async def whole(self, work: Coroutine[Any, Any, T]) -> T:
        """Finish `work` even if the caller is cancelled: what is stored must be taken up, too."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return await asyncio.shield(task)


class IdUsedError(RefusalError):
    """An id that stands for another command already, or for a command of another actor."""


class TooManyError(RefusalError):
    """A command that found no room among those under way."""


Tell = Callable[[str], None]


def tell_nobody(_text: str) -> None:
    """Ignore a progress report."""


@dataclass(slots=True)
class Awaited:
    """An answer that callers wait for, and who of them is told of progress."""

    reply: asyncio.Future[Reply]
    told: list[Tell] = field(default_factory=list)


@dataclass(slots=True)
class Unkept:
    """Answers that the store must not have as they are, in memory for a while; `most` at a time."""

    clock: Clock
    most: int = MOST
    _held: OrderedDict[str, tuple[float, Reply]] = field(default_factory=OrderedDict, repr=False)

    def put(self, operation: str, reply: Reply) -> None:
        """Hold an answer, if the store gets another one in its place."""
        if reply.later:
            self._held[operation] = (self.clock.steady() + _SHOWN_S, reply)
        while len(self._held) > self.most:
            self._held.popitem(last=False)

    def find(self, operation: str) -> Reply | None:
        """Return an answer that is held."""
        now = self.clock.steady()
        for old in [each for each, (until_s, _) in self._held.items() if until_s <= now]:
            del self._held[old]
        found = self._held.get(operation)
        return None if found is None else found[1]


@dataclass(slots=True)
class Proposals:
    """The proposals that wait for admission, and the callers that wait for an answer.

    Nothing is proposed while `recovery` is held; `wake` is set when a proposal waits. `came` says
    that there was one in this run.
    """

    database: Database
    clock: Clock
    calls: Calls
    recovery: asyncio.Lock
    wake: asyncio.Event
    is_recovered: Callable[[], bool]
    is_full: Callable[[], bool]
    max_age_s: Callable[[], float]
    waiting: deque[Operation] = field(default_factory=deque)
    _unsure: deque[str] = field(default_factory=lambda: deque(maxlen=MOST))
    _asked: dict[str, Awaited] = field(default_factory=dict)
    came: bool = False
    _followed: dict[str, set[asyncio.Event]] = field(default_factory=dict)
    unkept: Unkept = field(init=False)

    def __post_init__(self) -> None:
        self.unkept = Unkept(self.clock)

    @contextmanager
    def following(self, operation: str) -> Iterator[asyncio.Event]:
        """Yield an event that is set at each report and at the end of an operation."""
        woken = asyncio.Event()
        self._followed.setdefault(operation, set()).add(woken)
        try:
            yield woken
        finally:
            self._followed[operation].discard(woken)
            if not self._followed[operation]:
                del self._followed[operation]

    async def propose(self, command: Command, origin: Origin, actor: str, trace: str) -> Operation:
        """Store a command that did not come as a message. Proposing it again changes nothing.

        Raises:
            IdUsedError: the origin's id stands for another command already.
            RefusalError: too many commands are under way.
        """
        if len(self.waiting) >= MOST or self.is_full():
            raise TooManyError(
                "too many commands are under way", hint="send it again when some of them are done"
            )
        now = self.clock.now_ms()
        made = admission.propose(command, origin, actor, trace, self.max_age_s(), now)

        def record(connection: Connection) -> Operation | None:
            found = operations.recorded(connection, made.id)
            if found is not None:
                return found[0]
            operations.add(connection, made, now)
            return None

        async def store() -> Operation:
            async with self.recovery:
                try:
                    known = await self.database.write(record)
                except SQLAlchemyError:
                    if self.is_recovered():  # it may be in the store all the same
                        self._unsure.append(made.id)
                    raise
                if known is not None:
                    _check_same(known, made)
                    if known.state is not State.PROPOSED or known.id not in self._unsure:
                        return known
                    self._unsure.remove(known.id)
                operation = known or replace(made, stored=True)
                if self.is_recovered():  # otherwise recovery finds it in the store
                    self.waiting.append(operation)
            self.came = True
            self.wake.set()
            return operation

        return await self.calls.whole(store())

    async def ask(
        self,
        command: Command,
        origin: Origin,
        actor: str,
        trace: str,
        tell: Tell = tell_nobody,
    ) -> Reply:
        """Propose a command and wait for its answer; `tell` gets the reports before it.

        Several callers may wait for one operation, each until it has enough. Raises as `propose`
        does.
        """
        key = operation_id(origin)
        awaited = self._asked.setdefault(key, Awaited(asyncio.get_running_loop().create_future()))
        awaited.told.append(tell)
        try:
            operation = await self.propose(command, origin, actor, trace)
            if operation.state not in FINAL:
                return await asyncio.shield(awaited.reply)
        finally:
            awaited.told.remove(tell)
            if not awaited.told and self._asked.get(key) is awaited:
                del self._asked[key]
        if (shown := self.unkept.find(operation.id)) is not None:
            return shown
        kept = await self.database.read(lambda c: operations.answer(c, operation.id))
        return Reply(**json.loads(kept)) if kept else Reply(False, f"It is {operation.state}.")

    def tell(self, operation: str, text: str) -> None:
        """Report progress to the callers that wait for an operation."""
        self._wake(operation)
        awaited = self._asked.get(operation)
        for tell in () if awaited is None else tuple(awaited.told):
            tell(text)

    def answer(self, operation: str, reply: Reply) -> None:
        """Give its answer to the callers that wait for an operation, if one does."""
        self._wake(operation)
        awaited = self._asked.pop(operation, None)
        if awaited is not None and not awaited.reply.done():
            awaited.reply.set_result(reply)

    def _wake(self, operation: str) -> None:
        for woken in self._followed.get(operation, ()):
            woken.set()


def _check_same(known: Operation, made: Operation) -> None:
    """Check that an id that came again stands for the same command of the same actor."""
    if (known.said, known.actor) != (made.said, made.actor):
        raise IdUsedError(
            f"the id {made.origin.id} stands for another command already: {known.said}",
            hint="give each command an id of its own",
        )
