"""The input and the result of a command's handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from agency.control.store.chain import Outcome
from agency.errors import AgencyError

if TYPE_CHECKING:  # the CLI reads a noun's file too, and must not import the store
    from sqlalchemy.engine import Connection

    from agency.control.execution.replies import Reply
    from agency.control.grammar.command import Command
    from agency.control.policy import Role
    from agency.control.store.agents import Change


class RefusalError(AgencyError):
    """The command cannot be executed, and nothing was changed."""


Step = Callable[[str], Awaitable[None]]  # tells people what a command is at


async def say_nothing(_text: str) -> None:
    """Tell no step."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """A command to execute. Times are milliseconds since the epoch.

    `progress` tells a step: on the status card in the room, or to who follows the operation;
    `operation` is the id of the command's operation, and `rule` that by which it was approved.
    """

    command: Command
    sender: str
    trace: str
    origin_ts: int
    progress: Step = say_nothing
    operation: str = ""
    rule: str | None = None
    by: str = "matrix"  # an OriginKind: the way by which it came
    role: Role | None = None  # the most that the token gives by which it came


class Stored(Protocol):
    """A change to the store beside the inventory."""

    def apply(self, connection: Connection, now_ts: int) -> None:
        """Make the change, inside the transaction of its command's result."""


@dataclass(frozen=True, slots=True)
class Result:
    """Result of a command.

    `changes` and `stored` are committed together with its audit row and reply. `later` is kept in
    place of a text that must be at rest nowhere.
    """

    text: str
    block: str = ""
    outcome: Outcome = Outcome.DONE
    detail: Mapping[str, object] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    stored: tuple[Stored, ...] = ()
    later: str = ""

    def reply(self) -> Reply:
        """Make the final reply."""
        from agency.control.execution.replies import Reply

        return Reply(self.outcome is Outcome.DONE, self.text, self.block, later=self.later)


Handler = Callable[[Invocation], Awaitable[Result]]
