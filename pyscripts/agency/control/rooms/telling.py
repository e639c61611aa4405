"""Lines of the audit room: rows of the audit log as people read them. Pure.

rows after the last one told ──▶ one line each, redacted ──▶ one message of at most so many lines
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from agency.control.store.audit import AuditRow

MOST_LINES = 20
_MOST_SAID = 200  # characters of a command
_MOST_LINE = 400
_OUTCOMES = {
    "accepted": "began",
    "waiting": "waits for an approval",
    "granted": "approved",
}


def line(row: AuditRow) -> str:
    """Write a row: when, who, what became of it, what was said, and its trace."""
    said = _said(row)
    what = said or " ".join(part for part in (row.action, row.target) if part)
    outcome = _OUTCOMES.get(row.outcome, row.outcome)
    return f"{row.ts[11:19]} {row.actor}: {what}: {outcome} ({row.trace})"[:_MOST_LINE]


def message(rows: Sequence[AuditRow], left_out: int, redact: Callable[[str], str]) -> str:
    """Write rows, oldest first, with how many before them are left out."""
    lines = [line(row) for row in rows]
    if left_out:
        rows_are = "one row is" if left_out == 1 else f"{left_out} rows are"
        lines.insert(0, f"{rows_are} not told here: `agency audit export` has the whole log")
    return "\n".join(redact(each) for each in lines)


def is_told(row: AuditRow, room_id: str) -> bool:
    """Return whether a row is told in the audit room.

    That a message to this very room was given up is not: telling it would fail, and be a row again.
    """
    return not (row.action == "reply" and row.target == room_id)


def _said(row: AuditRow) -> str:
    """Return the canonical command of a row; empty if it has none."""
    try:
        detail = json.loads(row.detail)
    except ValueError:
        return ""
    said = detail.get("said") if isinstance(detail, dict) else None
    return said[:_MOST_SAID] if isinstance(said, str) else ""
