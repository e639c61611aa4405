"""Plans: what an operation would do, for people who approve it and for the check at its begin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from agency.control.operation import Operation
from agency.control.operations.approving.basis import basis_now, moved_text
from agency.control.wish import Wish
from agency.errors import AgencyError

_MOST_LINE = 500  # characters of one line in a prompt


class VoidGrantError(AgencyError):
    """The stored operation differs from the admitted one, or has no valid approval."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Effect of an operation. `basis` is the digest of all that it is planned on and makes."""

    basis: str
    text: str
    lines: tuple[str, ...] = ()

    @property
    def whole(self) -> str:
        """The text and every line."""
        return "\n".join((self.text, *self.lines))

    def shown(self, short: str, most_bytes: int) -> str:
        """Return the text, as many lines as fit into so many bytes, and where the rest is."""
        kept: list[str] = []
        size = 0
        for whole in self.lines:
            line = whole if len(whole) <= _MOST_LINE else _beginning(whole, short)
            size += len(line.encode()) + 1
            if size > most_bytes:
                break
            kept.append(line)
        left = len(self.lines) - len(kept)
        more = [f"and {left} more: !agency approvals show {short} has them all"] if left else []
        return "\n".join((self.text, *kept, *more))


def _beginning(line: str, short: str) -> str:
    more = f"({len(line)} characters: !agency approvals show {short} has them all)"
    return f"{line[:_MOST_LINE]}... {more}"


# None for an operation whose effect is the wish of its target. May refuse by an AgencyError.
Planner = Callable[[Connection, Operation], Plan | None]


def plan_nothing(_connection: Connection, _operation: Operation) -> Plan | None:
    """Plan no operation."""
    return None


def check_basis(
    planner: Planner, connection: Connection, operation: Operation, before: Wish | None
) -> None:
    """Check that an operation that was approved would do what it was approved for.

    `before` is the wish of its target now, to which one without a plan of its own is bound.

    Raises:
        VoidGrantError: its target is not as it was then.
    """
    try:
        planned = planner(connection, operation)
    except AgencyError as error:
        raise VoidGrantError(error.message, hint=error.hint) from None
    if planned is None:
        if operation.basis and basis_now(connection, operation.target) != operation.basis:
            raise VoidGrantError(moved_text(operation.target, before))
    elif planned.basis != operation.basis:
        raise VoidGrantError(
            f"{operation.target} is not as it was when the approval was asked for; ask again",
            hint=planned.text.removesuffix(":"),
        )
