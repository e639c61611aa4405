"""Plans: what an operation would do, for people who approve it and for the check at its begin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from agency.control.operation import Operation

_MOST_LINE = 500  # characters of one line in a prompt


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
