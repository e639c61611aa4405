"""Execution: one handler is called, and its return or error becomes a result."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError

from agency.commandline import log_context
from agency.control.execution.result import Handler, Invocation, RefusalError, Result
from agency.control.grammar.parse import Command
from agency.control.operation import Operation
from agency.control.operations.admitting.entries import sentence, store_reason
from agency.control.operations.running.recorder import Recorder
from agency.control.store.audit import Outcome
from agency.errors import AgencyError

_log = logging.getLogger(__name__)

INTERNAL = "The control plane failed with an internal error. Its log has the details."
_MOST_STEPS = 20


def _show_nothing() -> None:
    """Show no step: for a look, which has no card."""


@dataclass(slots=True)
class Progress:
    """Steps of one operation, as its handler tells them; each has a number, and is kept once.

    `shown` is called after each.
    """

    recorder: Recorder
    operation: Operation
    shown: Callable[[], None] = _show_nothing
    count: int = field(init=False)
    ended: bool = False

    def __post_init__(self) -> None:
        self.count = self.operation.replies

    async def say(self, text: str) -> None:
        """Keep a step and tell it; drop it beyond the limit, or if the store does not take it."""
        if self.ended:
            _log.warning("a step after the end of the command", extra=fields_of(self.operation))
            return
        if self.count >= _MOST_STEPS:
            _log.warning("too many steps of one command", extra=fields_of(self.operation))
            return
        self.count += 1
        try:
            await self.recorder.progress(self.operation, text, self.count)
        except SQLAlchemyError as error:
            _log.warning("cannot keep a step: %s", store_reason(error))
        self.shown()


async def execute(
    handler: Callable[[Command], Handler],
    operation: Operation,
    command: Command,
    progress: Progress,
) -> Result:
    """Run the handler of a command; turn an error into a result."""
    invocation = Invocation(
        command,
        operation.actor,
        operation.trace,
        operation.origin.ts,
        progress.say,
        operation.id,
        operation.rule,
        operation.origin.kind,
        operation.origin.role,
    )
    _log.debug("an operation begins")
    try:
        return await handler(command)(invocation)
    except asyncio.CancelledError:
        _log.warning(
            "abandoned a command because the control plane stops", extra=fields_of(operation)
        )
        raise
    except RefusalError as error:
        text = sentence(error, keep=operation.target)
        return Result(text, outcome=Outcome.REFUSED, detail={"why": error.message})
    except AgencyError as error:
        text = sentence(error, keep=operation.target)
        return Result(text, outcome=Outcome.FAILED, detail={"why": error.message})
    except SQLAlchemyError as error:
        _log.error("a command could not use the store: %s", store_reason(error))
        return Result(INTERNAL, outcome=Outcome.FAILED, detail={"code": "store"})
    except Exception as error:  # noqa: BLE001 - a defect: the sender must be answered
        _log.exception("a command failed with an unexpected error", extra=fields_of(operation))
        kind = type(error).__name__
        return Result(INTERNAL, outcome=Outcome.FAILED, detail={"code": "internal", "kind": kind})
    finally:
        progress.ended = True


def logged(operation: Operation) -> AbstractContextManager[None]:
    """Have every record of the log in it name this operation, and who asked for what."""
    return log_context(
        trace=operation.trace,
        operation=operation.id,
        actor=operation.actor,
        action=operation.action,
    )


def fields_of(operation: Operation) -> dict[str, dict[str, object]]:
    """Return the fields of a log record about an operation."""
    return {"fields": {"trace": operation.trace, "operation": operation.id}}
