"""The worker: takes events from the inbox in order, and settles each exactly once.

A command that only reads may run again after a crash. One that changes something is marked as
running, and audited as accepted, before it acts; after a crash it is not run again but answered
with what is seen. Its result, the audit row and the reply are committed together.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from agency.canonical import sha256_hex
from agency.clock import Clock
from agency.control.execution.classify import Disposition, Rules, Verdict, classify
from agency.control.execution.replies import Reply, reply_message
from agency.control.execution.result import Handler, Invocation, RefusalError, Result
from agency.control.grammar.command import Command
from agency.control.grammar.errors import CommandError
from agency.control.grammar.grammar import Grammar
from agency.control.grammar.parse import parse
from agency.control.grammar.printing import format_command
from agency.control.store import agents, audit, inbox, outbox
from agency.control.store.audit import AuditEntry, Outcome
from agency.control.store.database import Database
from agency.control.store.inbox import InboxState, StoredEvent
from agency.control.store.outbox import StoredMessage
from agency.errors import AgencyError
from agency.matrix import Backoff

_log = logging.getLogger(__name__)

_UNKNOWN_ACTION = "command"
_INTERNAL = "Something went wrong inside the control plane. The trace is in its log."


@dataclass(slots=True)
class Worker:
    """Settles what is in the inbox; `wake` tells it that there is something, `say` the sender."""

    database: Database
    clock: Clock
    rules: Rules
    grammar: Grammar
    handlers: Mapping[str, Handler]
    observe: Callable[[Command, str], Awaitable[str]]
    max_command_bytes: int
    max_outbox: int
    wake: asyncio.Event
    say: Callable[[StoredMessage], None]
    backoff: Backoff = field(default_factory=Backoff)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _acting: asyncio.Task[Result] | None = None

    async def run(self) -> None:
        """Settle events until `stop`."""
        failures = 0
        while not self._stop.is_set():
            self.wake.clear()
            try:
                worked = await self.step()
                failures = 0
            except SQLAlchemyError as error:
                failures += 1
                _log.error("cannot use the store: %s", _reason(error))
                await self._pause(self.backoff.delay_s(failures))
                continue
            if not worked and not self._stop.is_set():
                await self.wake.wait()

    def stop(self) -> None:
        """Take no further event; the one at hand is finished."""
        self._stop.set()
        self.wake.set()

    def abandon(self) -> None:
        """End the command at hand: it stays marked as running, which the next start will see."""
        if self._acting is not None:
            self._acting.cancel()

    async def step(self) -> bool:
        """Settle the next event; False if there is none, or if too much waits to be said."""
        stored = await self.database.read(self._next)
        if stored is None:
            return False
        try:
            if stored.state is InboxState.RUNNING:
                await self._interrupted(stored)
            else:
                await self._settle(stored)
        except SQLAlchemyError:
            raise
        except Exception:  # noqa: BLE001 - a defect met by one event must not stop those behind it
            _log.exception("an event could not be dealt with", extra=_fields(stored))
            await self._finish(stored, _entry(stored, Outcome.FAILED, {"code": "internal"}), None)
        return True

    def _next(self, connection: Connection) -> StoredEvent | None:
        if outbox.pending(connection) >= self.max_outbox:
            return None
        return inbox.first_unfinished(connection)

    async def _settle(self, stored: StoredEvent) -> None:
        verdict = classify(stored.event, self.rules, self.clock.now_ms())
        match verdict.disposition:
            case Disposition.SILENT:
                await self._finish(stored, None, None)
            case Disposition.IGNORE:
                entry = _entry(stored, Outcome.IGNORED, self._about(stored, verdict))
                await self._finish(stored, entry, None)
            case Disposition.REFUSE:
                entry = _entry(stored, Outcome.REFUSED, self._about(stored, verdict))
                await self._finish(stored, entry, Reply(False, verdict.message))
            case Disposition.RUN:
                await self._command(stored)

    async def _command(self, stored: StoredEvent) -> None:
        text = stored.event.text
        try:
            command = parse(self.grammar, text, max_bytes=self.max_command_bytes)
        except CommandError as error:
            why = {"code": "not-understood", "reason": str(error.reason), **_sealed(text)}
            entry = _entry(stored, Outcome.REFUSED, why)
            reply = Reply(False, _sentence(error), error.pointer())
            await self._finish(stored, entry, reply)
            return
        if command.changes:
            # Nothing is done that is not on record: if this fails, the event stays where it is.
            await self.database.write(partial(self._accept, stored=stored, command=command))
        result = await self._act(stored, command)
        if result is not None:
            entry = _entry(stored, result.outcome, result.detail, command)
            changed = command.changes
            await self._finish(stored, entry, result.reply(), result, flush=changed)

    def _accept(self, connection: Connection, *, stored: StoredEvent, command: Command) -> None:
        inbox.set_running(connection, stored.sequence)
        audit.append(connection, self.clock, _entry(stored, Outcome.ACCEPTED, {}, command))

    async def _act(self, stored: StoredEvent, command: Command) -> Result | None:
        """Run the command's handler; None if it was abandoned because we are ending."""
        event = stored.event
        invocation = Invocation(command, event.sender, stored.trace, event.origin_ts)
        handler = self.handlers[command.name]

        async def act() -> Result:
            return await handler(invocation)

        self._acting = asyncio.create_task(act())
        try:
            return await self._acting
        except asyncio.CancelledError:
            if not self._stop.is_set():
                raise
            _log.warning("abandoned a command, because we are ending", extra=_fields(stored))
            return None
        except RefusalError as error:
            return Result(_sentence(error), outcome=Outcome.REFUSED, detail={"why": error.message})
        except AgencyError as error:
            return Result(_sentence(error), outcome=Outcome.FAILED, detail={"why": error.message})
        except SQLAlchemyError as error:
            _log.error("a command could not use the store: %s", _reason(error))
            return Result(_INTERNAL, outcome=Outcome.FAILED, detail={"code": "store"})
        except Exception as error:  # noqa: BLE001 - a defect: whoever commanded must be told
            _log.exception("a command failed inside", extra=_fields(stored))
            kind = type(error).__name__
            return Result(
                _INTERNAL, outcome=Outcome.FAILED, detail={"code": "internal", "kind": kind}
            )
        finally:
            self._acting = None

    async def _interrupted(self, stored: StoredEvent) -> None:
        """Answer a command during which we ended: what is seen now, and that it did not run on."""
        command, seen = None, ""
        try:
            command = parse(self.grammar, stored.event.text, max_bytes=self.max_command_bytes)
            seen = await self.observe(command, stored.trace)
        except AgencyError as error:
            seen = error.message
        text = "The control plane ended while this command ran, and it was not run again."
        if seen:
            text += f" Seen now: {seen}."
        text += " Send it again if it is still wanted."
        entry = _entry(stored, Outcome.INTERRUPTED, {"seen": seen or None}, command)
        await self._finish(stored, entry, Reply(False, text))

    async def _finish(
        self,
        stored: StoredEvent,
        entry: AuditEntry | None,
        reply: Reply | None,
        result: Result | None = None,
        *,
        flush: bool = False,
    ) -> None:
        """Commit all that came of an event, trying until the store takes it or we end.

        `flush` is for what cannot be done again: a refusal or a look can, after a power cut, and
        its reply has the same transaction id.
        """

        def change(connection: Connection) -> StoredMessage | None:
            queued = None
            now = self.clock.now_ms()
            for made in result.changes if result else ():
                agents.apply(connection, made, now)
            if entry is not None:
                audit.append(connection, self.clock, entry)
            if reply is not None:
                message = reply_message(
                    reply, stored.event, as_user=self.rules.bot_id, trace=stored.trace
                )
                queued = outbox.add(connection, message, now)
            inbox.set_done(connection, stored.sequence)
            return queued

        failures = 0
        while True:
            try:
                queued = await self.database.write(change, flush=flush)
                break
            except SQLAlchemyError as error:
                failures += 1
                _log.error("cannot record a result: %s", _reason(error), extra=_fields(stored))
                if self._stop.is_set():
                    return
                await self._pause(self.backoff.delay_s(failures))
        if queued is not None:
            self.say(queued)
            await asyncio.sleep(0)  # the sender first, then the next event
        _log.info("settled", extra=_fields(stored, entry))

    async def _pause(self, seconds: float) -> None:
        """Wait, but not beyond the moment at which we are told to end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()

    def _about(self, stored: StoredEvent, verdict: Verdict) -> dict[str, object]:
        """What to record of a message that is not run: the command, if it is one."""
        detail: dict[str, object] = {"code": verdict.code, "room": stored.event.room_id}
        try:
            command = parse(self.grammar, stored.event.text, max_bytes=self.max_command_bytes)
        except CommandError:
            return {**detail, **_sealed(stored.event.text)}
        return {**detail, "said": format_command(command)}


def _entry(
    stored: StoredEvent,
    outcome: Outcome,
    detail: Mapping[str, object],
    command: Command | None = None,
) -> AuditEntry:
    said = None if command is None else format_command(command)
    target = "" if command is None else command.target or ""
    return AuditEntry(
        trace=stored.trace,
        actor=stored.event.sender,
        action=_UNKNOWN_ACTION if command is None else command.name,
        target=target[:255],
        outcome=outcome,
        detail=audit.audit_detail(**{"event": stored.event.event_id, "said": said, **detail}),
    )


def _sealed(text: str) -> dict[str, object]:
    """Text that is no command is not kept: somebody may have typed a secret. Only its digest is."""
    data = text.encode(errors="surrogatepass")
    return {"bytes": len(data), "sha256": sha256_hex(data)}


def _sentence(error: AgencyError) -> str:
    text = error.message[:1].upper() + error.message[1:]
    text = text if text.endswith((".", "!", "?")) else f"{text}."
    return f"{text}\n{error.hint}" if error.hint else text


def _fields(stored: StoredEvent, entry: AuditEntry | None = None) -> dict[str, dict[str, object]]:
    fields: dict[str, object] = {"trace": stored.trace, "event": stored.event.event_id}
    if entry is not None:
        fields |= {"action": entry.action, "outcome": str(entry.outcome)}
    return {"fields": fields}


def _reason(error: SQLAlchemyError) -> str:
    """The driver's word, without the statement and its values."""
    return str(getattr(error, "orig", None) or type(error).__name__)
