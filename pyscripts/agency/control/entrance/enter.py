"""Entry of one command at the operation: read, proposed, waited for. Every interface calls this."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from agency.clock import Clock
from agency.control.execution.classify import too_old
from agency.control.execution.replies import Reply
from agency.control.execution.result import RefusalError
from agency.control.grammar.parse import Command, CommandError, parse
from agency.control.grammar.printing import format_command
from agency.control.leaks import EXPOSED, INSTEAD, token_in
from agency.control.operation import FINAL, operation_id
from agency.control.operations import Operation, Operations, Origin, OriginKind, State, Tell
from agency.control.operations.admitting.admission import Settled
from agency.control.operations.admitting.entries import (
    message_entry,
    sealed,
    sentence,
    store_reason,
)
from agency.control.operations.proposals import IdUsedError, TooManyError
from agency.control.operations.running.execution import INTERNAL
from agency.control.policy import Role, includes, needed, reaches
from agency.control.store import operations as stored
from agency.control.store.audit import Outcome
from agency.control.vault.values import Waiting
from agency.errors import AgencyError
from agency.protocols import CommandOutcome
from agency.secrets import SecretValue

T = TypeVar("T")
_log = logging.getLogger(__name__)

_LOOK_S = 60.0  # between two looks at an operation whose value is held

_OUTCOMES: Mapping[State, CommandOutcome] = {
    State.DONE: CommandOutcome.DONE,
    State.REFUSED: CommandOutcome.REFUSED,
    State.EXPIRED: CommandOutcome.EXPIRED,
    State.WITHDRAWN: CommandOutcome.REFUSED,  # nothing was done
}


class Refusal(StrEnum):
    """The ways in which a command becomes no operation."""

    NOT_UNDERSTOOD = "not-understood"
    TOO_NARROW = "beyond-the-token"  # its role does not reach as far
    ID_USED = "id-used"  # the id stands for another command
    TOO_MANY = "too-many"  # commands are under way
    TOO_OLD = "too-old"
    FAILED = "failed"  # the store, most likely


@dataclass(frozen=True, slots=True)
class Asked:
    """A command that somebody asks for.

    `id` is made by who asks, and unique within `kind`; `actor` is who that is, by proof; `text` is
    the command as the room's grammar has it; `sent_ts` is milliseconds since the epoch. `value` is
    that of a secret, for a command that takes one; `document` is what it hands in.
    `role` is the most that the proof gives; None leaves it to the policy alone.
    """

    kind: OriginKind
    id: str
    actor: str
    text: str
    sent_ts: int
    value: SecretValue | None = None
    document: str = ""
    role: Role | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer to a command; `operation` and `said` are empty if it became no operation.

    `refusal` says why it became none.
    """

    outcome: CommandOutcome
    reply: Reply
    trace: str
    operation: str = ""
    said: str = ""
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Entrance:
    """The operations that commands enter at, and what makes times and traces.

    `values` holds the values that come with commands, in memory, until these have their turn.
    """

    operations: Operations
    clock: Clock
    new_trace: Callable[[], str]
    values: Waiting | None = None
    releasing: set[asyncio.Task[None]] = field(default_factory=set)  # of values


async def enter(entrance: Entrance, asked: Asked, tell: Tell) -> Answer:
    """Run a command, once for each id, and return its answer; `tell` gets the reports before it.

    Cancelled, it leaves an operation that was stored to go on.
    """
    return await _admitted(entrance, asked, partial(_ask, entrance, asked.actor, tell))


async def submit(entrance: Entrance, asked: Asked) -> Operation | Answer:
    """Store a command, once for each id, and return its operation; an answer is a refusal.

    The value that came with it is held until the operation ends.
    """
    made = await _admitted(entrance, asked, partial(_propose, entrance, asked.actor), goes_on=True)
    if isinstance(made, Operation) and asked.value is not None:
        task = asyncio.create_task(_release(entrance, made.id), name=f"value of {made.id}")
        entrance.releasing.add(task)
        task.add_done_callback(entrance.releasing.discard)
    return made


async def _release(entrance: Entrance, operation: str) -> None:
    """Let go of the value of an operation when that has ended, or it waits too long."""
    operations, values = entrance.operations, entrance.values
    assert values is not None  # it was held there
    with operations.following(operation) as woken:
        while values.holds(operation):
            woken.clear()
            try:
                found = await operations.database.read(lambda c: stored.recorded(c, operation))
            except SQLAlchemyError as error:
                _log.warning("cannot see whether a command ended: %s", store_reason(error))
            else:
                if found is None or found[0].state in FINAL:
                    break
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await woken.wait()
    values.take(operation)


async def _admitted(
    entrance: Entrance,
    asked: Asked,
    take: Callable[[Command, Origin, str], Awaitable[T]],
    *,
    goes_on: bool = False,
) -> T | Answer:
    """Read a command and have it taken, or refuse it on record; `goes_on` says that it has not
    ended when it is taken."""
    operations, trace = entrance.operations, entrance.new_trace()
    sent_ts = min(asked.sent_ts, entrance.clock.now_ms())
    origin = Origin(asked.kind, asked.id, sent_ts, role=asked.role)
    if (token := token_in(asked.text)) is not None:
        await _refuse(operations, asked, origin, trace, {"code": "secret-in-text", "kind": token})
        text = f"This text holds {token}, so nothing was done. {EXPOSED} {INSTEAD}"
        reply = Reply(False, text)
        return Answer(CommandOutcome.NOT_UNDERSTOOD, reply, trace, refusal=Refusal.NOT_UNDERSTOOD)
    try:
        command = parse(operations.grammar, asked.text, max_bytes=operations.max_command_bytes)
    except CommandError as error:
        why = {"code": "not-understood", "reason": str(error.reason), **sealed(asked.text)}
        reply = Reply(False, sentence(error), error.pointer())
        await _refuse(operations, asked, origin, trace, why)
        return Answer(CommandOutcome.NOT_UNDERSTOOD, reply, trace, refusal=Refusal.NOT_UNDERSTOOD)
    try:
        _check_reach(asked, command)
        await _check_age(entrance, origin)
        with _holding(entrance, asked, origin, goes_on=goes_on):
            return await take(command, origin, trace)
    except SQLAlchemyError as error:
        _log.error("cannot propose a command: %s", store_reason(error))
        reply = Reply(False, INTERNAL)
        return Answer(CommandOutcome.FAILED, reply, trace, refusal=Refusal.FAILED)
    except AgencyError as error:
        kind = CommandOutcome.REFUSED if isinstance(error, RefusalError) else CommandOutcome.FAILED
        refusal = _REFUSALS.get(type(error), Refusal.FAILED)
        code = "not-taken" if refusal is not Refusal.TOO_NARROW else str(refusal)
        why = {"code": code, "why": error.message, "said": format_command(command)}
        await _refuse(operations, asked, origin, trace, why)
        return Answer(kind, Reply(False, sentence(error)), trace, refusal=refusal)


@contextlib.contextmanager
def _holding(entrance: Entrance, asked: Asked, origin: Origin, *, goes_on: bool) -> Iterator[None]:
    """Hold the value that came with a command until that ends; longer if it goes on after it.

    Who waits no longer leaves the value behind: the command may still have its turn. A command that
    is sent again and refused lets go of nothing: what came with it before is the operation's.

    Raises:
        RefusalError: there is no vault, or too many values wait.
    """
    if asked.value is None:
        yield
        return
    if entrance.values is None:
        raise RefusalError("this agency has no vault, so it takes no values")
    key = operation_id(origin)
    entrance.values.put(key, asked.value.reveal())
    try:
        yield
    except asyncio.CancelledError:
        raise
    except BaseException:
        entrance.values.take_back(key)
        raise
    if not goes_on:
        entrance.values.take(key)


class _NarrowError(RefusalError):
    """A command that goes beyond the role of a token."""


class _OldError(RefusalError):
    """A command that was sent too long ago."""


_REFUSALS: Mapping[type[AgencyError], Refusal] = {
    IdUsedError: Refusal.ID_USED,
    TooManyError: Refusal.TOO_MANY,
    _NarrowError: Refusal.TOO_NARROW,
    _OldError: Refusal.TOO_OLD,
}


def _check_reach(asked: Asked, command: Command) -> None:
    if asked.role is None or reaches(asked.role, command.spec):
        return
    wanted = needed(command.spec)
    if includes(asked.role, wanted):
        raise _NarrowError(f"{command.name} writes, and a token of a {asked.role} only looks")
    raise _NarrowError(f"{command.name} takes the role {wanted}, and this token gives {asked.role}")


async def _check_age(entrance: Entrance, origin: Origin) -> None:
    """Refuse an old command, but for one that is known: its answer may be asked for."""
    operations = entrance.operations
    age_s = (entrance.clock.now_ms() - origin.ts) / 1000
    most_s = operations.rules.max_age_s
    # An id is forgotten only when a command that old is refused.
    if age_s > most_s and await _known(operations, origin) is None:
        raise _OldError(too_old(age_s, most_s))


async def _propose(
    entrance: Entrance, actor: str, command: Command, origin: Origin, trace: str
) -> Operation:
    return await entrance.operations.propose(command, origin, actor, trace)


async def _ask(
    entrance: Entrance, actor: str, tell: Tell, command: Command, origin: Origin, trace: str
) -> Answer:
    operations = entrance.operations
    reply = await operations.ask(command, origin, actor, trace, tell)
    known = await _known(operations, origin)
    said = format_command(command)
    if known is None:
        return Answer(CommandOutcome.FAILED, reply, trace, operation_id(origin), said)
    outcome = _OUTCOMES.get(known.state, CommandOutcome.FAILED)
    return Answer(outcome, reply, known.trace, known.id, said)


async def _known(operations: Operations, origin: Origin) -> Operation | None:
    found = await operations.database.read(lambda c: stored.recorded(c, operation_id(origin)))
    return None if found is None else found[0]


async def _refuse(
    operations: Operations, asked: Asked, origin: Origin, trace: str, why: Mapping[str, object]
) -> None:
    entry = message_entry(trace, asked.actor, origin, Outcome.REFUSED, why)
    await operations.record(Settled(entry), origin, trace)
