"""Proposals: commands that did not come as messages, from the CLI, HTTP or the reconciler."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from agency.clock import Clock
from agency.control.execution.replies import Reply
from agency.control.execution.result import RefusalError
from agency.control.grammar.parse import Command
from agency.control.operation import FINAL, Operation, Origin, State, operation_id
from agency.control.operations import admission
from agency.control.store import operations
from agency.store import Database

T = TypeVar("T")

MOST = 100  # proposals that wait for admission


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


@dataclass(slots=True)
class Proposals:
    """The proposals that wait for admission, and the callers that wait for an answer.

    Nothing is proposed while `recovery` is held; `wake` is set when a proposal waits.
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
    _asked: dict[str, asyncio.Future[Reply]] = field(default_factory=dict)

    async def propose(self, command: Command, origin: Origin, actor: str, trace: str) -> Operation:
        """Store a command that did not come as a message. Proposing it again changes nothing.

        Raises:
            RefusalError: too many commands are under way.
        """
        if len(self.waiting) >= MOST or self.is_full():
            raise RefusalError(
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
                    if known.state is not State.PROPOSED or known.id not in self._unsure:
                        return known
                    self._unsure.remove(known.id)
                operation = known or replace(made, stored=True)
                if self.is_recovered():  # otherwise recovery finds it in the store
                    self.waiting.append(operation)
            self.wake.set()
            return operation

        return await self.calls.whole(store())

    async def ask(self, command: Command, origin: Origin, actor: str, trace: str) -> Reply:
        """Propose a command and wait for its answer. Raises as `propose` does."""
        future = self._asked.setdefault(
            operation_id(origin), asyncio.get_running_loop().create_future()
        )
        try:
            operation = await self.propose(command, origin, actor, trace)
        except BaseException:
            self._asked.pop(operation_id(origin), None)
            raise
        if operation.state not in FINAL:
            return await asyncio.shield(future)
        self._asked.pop(operation.id, None)
        kept = await self.database.read(lambda c: operations.answer(c, operation.id))
        return Reply(**json.loads(kept)) if kept else Reply(False, f"It is {operation.state}.")

    def answer(self, operation: str, reply: Reply) -> None:
        """Give its answer to the caller that waits for an operation, if one does."""
        future = self._asked.pop(operation, None)
        if future is not None and not future.done():
            future.set_result(reply)
