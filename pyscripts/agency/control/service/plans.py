"""Plans of operations: each kind of target has its own."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.engine import Connection

from agency.control.operation import Operation
from agency.control.operations.approving.plan import Plan, Planner
from agency.control.vault.vault import standing_of

_SECRET = "secret "  # noqa: S105 - the kind of a target


@dataclass(frozen=True, slots=True)
class Plans:
    """Planner of all operations; `others` plans those that are about no secret."""

    others: Planner

    def __call__(self, connection: Connection, operation: Operation) -> Plan | None:
        """Plan an operation; None for one whose effect is the wish of its target."""
        if not operation.target.startswith(_SECRET):
            return self.others(connection, operation)
        standing = standing_of(connection, operation.target.removeprefix(_SECRET))
        return Plan(standing.basis, standing.text)
