"""What a command's handler is told, and what it gives back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agency.control.store.chain import Outcome
from agency.errors import AgencyError

if TYPE_CHECKING:  # a noun's file is read by the CLI too, where nothing of the store is wanted
    from agency.control.execution.replies import Reply
    from agency.control.grammar.command import Command
    from agency.control.store.agents import InventoryChange


class RefusalError(AgencyError):
    """What was asked cannot be done, and nothing was changed."""


async def _say_nothing(_text: str) -> None:
    """Tell nobody of progress."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """One command that may run. Times are milliseconds since the epoch.

    `progress` replies at once, before the result does, where the origin can hear it.
    """

    command: Command
    sender: str
    trace: str
    origin_ts: int
    progress: Callable[[str], Awaitable[None]] = _say_nothing


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a command; the changes are committed together with its audit row and reply."""

    text: str
    block: str = ""
    outcome: Outcome = Outcome.DONE
    detail: Mapping[str, object] = field(default_factory=dict)
    changes: tuple[InventoryChange, ...] = ()

    def reply(self) -> Reply:
        """What is said about it."""
        from agency.control.execution.replies import Reply

        return Reply(self.outcome is Outcome.DONE, self.text, self.block)


Handler = Callable[[Invocation], Awaitable[Result]]
