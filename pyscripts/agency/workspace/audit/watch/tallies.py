"""Counts over the records of an agent. Pure; a detail is whatever the agent said."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from agency.settings import Strict
from agency.workspace.audit.record import Record

_DECISIONS = ("tool.decided", "approval.decided")
_MOST_LOST = 1_000_000  # of one record: what an agent says of itself bounds no number


class Tally(Strict):
    """Counts since the log was first read; `last_at` is the newest record's time, or 0."""

    records: int = Field(default=0, ge=0)
    denials: int = Field(default=0, ge=0)
    lost: int = Field(default=0, ge=0)
    last_at: float = Field(default=0.0, ge=0)


def counted(tally: Tally, record: Record) -> Tally:
    """Count one more record."""
    return Tally(
        records=tally.records + 1,
        denials=tally.denials + is_denial(record.event, record.detail),
        lost=tally.lost + _lost(record),
        last_at=datetime.fromisoformat(record.at).timestamp(),
    )


def is_denial(event: str, detail: dict[str, object]) -> bool:
    """Tell if an event says that the policy or a person refused a call of a tool."""
    return event in _DECISIONS and detail.get("decision") == "deny"


def _lost(record: Record) -> int:
    if record.event != "audit.lost":
        return 0
    said = record.detail.get("events")
    return min(max(said, 1), _MOST_LOST) if type(said) is int else 1
