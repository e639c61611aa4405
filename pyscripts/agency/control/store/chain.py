"""The hash chain of the audit log, as pure functions over rows.

Row n holds the hash of row n-1, and its own hash covers every field, its number included. The
first row's `previous` depends on the instance's name, so a log cannot be passed off as another
instance's. The chain reveals a change inside it. Rows cut off its end are revealed only by a head
(number and hash) that is kept elsewhere, for example in a transcript.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from agency import chain
from agency.canonical import canonical_json, sha256_hex
from agency.chain import Fault, Head

MAX_DETAIL_BYTES = 4096


class Outcome(StrEnum):
    """Outcome of a request."""

    ACCEPTED = "accepted"  # execution begins; a row with the result follows
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"
    IGNORED = "ignored"
    INTERRUPTED = "interrupted"  # the control plane ended during execution
    WAITING = "waiting"  # for an approval
    GRANTED = "granted"  # approved by another person
    EXPIRED = "expired"  # its deadline passed before it began
    WITHDRAWN = "withdrawn"  # its message was deleted before it began


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Contents of a new row; `detail` is made with `audit_detail`."""

    trace: str
    actor: str
    action: str
    target: str
    outcome: Outcome
    detail: str = "{}"


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One row of the log as it is stored; `detail` is JSON text."""

    sequence: int
    ts: str
    trace: str
    actor: str
    action: str
    target: str
    outcome: str
    detail: str
    previous: str
    hash: str

    def as_dict(self) -> dict[str, Any]:
        """Return the row as it is exported."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ChainReport:
    """Result of verifying a log. `first_bad` is the number of the first wrong or missing row."""

    ok: bool
    count: int
    head: str
    first_bad: int | None = None
    reason: str | None = None


def audit_detail(**fields: object) -> str:
    """Encode fields as bounded canonical JSON; a longer one becomes its size,
    digest and beginning.

    Fields that are None are left out. Pass nothing secret.
    """
    whole = canonical_json({k: _encodable(v) for k, v in fields.items() if v is not None})
    if len(whole) <= MAX_DETAIL_BYTES:
        return whole.decode()
    short = {"truncated": True, "bytes": len(whole), "sha256": sha256_hex(whole)}
    short["begin"] = whole[: MAX_DETAIL_BYTES // 4].decode(errors="replace")
    return canonical_json(short).decode()


def _encodable(value: object) -> object:
    # Any user may send half of a surrogate pair, which is no character in UTF-8.
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    return value


def genesis(instance: str) -> str:
    """Return the value that the first row of an instance's log holds as `previous`."""
    return chain.genesis("agency/audit/1", instance=instance).hash


def next_row(head: Head, entry: AuditEntry, ts: str) -> AuditRow:
    """Make the row that follows `head`."""
    row = AuditRow(
        sequence=head.sequence + 1,
        ts=ts,
        trace=entry.trace,
        actor=entry.actor,
        action=entry.action,
        target=entry.target,
        outcome=str(entry.outcome),
        detail=entry.detail,
        previous=head.hash,
        hash="",
    )
    return chain.sealed(row)


def verify_chain(
    rows: Iterable[AuditRow], *, instance: str, expected: Head | None = None
) -> ChainReport:
    """Check a log from its first row.

    With `expected`, the log must have at least that many rows, and that hash at that row. An older
    head stays valid while the log grows.
    """
    report = follow_chain(Head(0, genesis(instance)), rows, expected=expected)
    if report.ok and expected is not None and expected.sequence > report.count:
        reason = f"the log ends after row {report.count}, the given head is later"
        return ChainReport(False, report.count, report.head, report.count + 1, reason)
    return report


def follow_chain(
    head: Head, rows: Iterable[AuditRow], *, expected: Head | None = None
) -> ChainReport:
    """Check the rows that follow `head`; a row of the number of `expected` must have its hash."""

    def bad(sequence: int, reason: str) -> ChainReport:
        return ChainReport(False, head.sequence, head.hash, sequence, reason)

    for row in rows:
        fault = chain.fault_of(head, row)
        if fault is not None:
            wanted = head.sequence + 1
            place = min(row.sequence, wanted)
            return bad(place, _reason(fault, place))
        head = chain.head_of(row)
        if expected is not None and expected.sequence == head.sequence and expected != head:
            return bad(row.sequence, f"row {row.sequence} is not the one that the given head names")
    return ChainReport(True, head.sequence, head.hash)


def _reason(fault: Fault, row: int) -> str:
    before = "this instance's log" if row == 1 else f"row {row - 1}"
    return {
        Fault.MISSING: f"row {row} is missing",
        Fault.REPEATED: f"row {row} comes twice or out of order",
        Fault.EDITED: f"row {row} was edited: its hash is not that of its fields",
        Fault.FOREIGN: f"row {row} does not follow {before}",
    }[fault]
