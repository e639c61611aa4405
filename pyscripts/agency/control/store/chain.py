"""The hash chain of the audit log, as pure functions over rows.

Row n holds the hash of row n-1, and its own hash covers every field, its number included. The
first row's `previous` is bound to the instance's name, so a log cannot be passed off as another
instance's. A chain shows what was changed inside it; that rows were cut off its end is shown by
a head (number and hash) that was kept elsewhere, as a transcript does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from agency.canonical import canonical_json, sha256_hex

MAX_DETAIL_BYTES = 4096


class Outcome(StrEnum):
    """What came of what was asked."""

    ACCEPTED = "accepted"  # about to be done; a row with the result follows
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"
    IGNORED = "ignored"
    INTERRUPTED = "interrupted"  # the control plane ended while it was being done
    WAITING = "waiting"  # for an approval
    GRANTED = "granted"  # somebody approved it
    EXPIRED = "expired"  # it did not begin in time


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """What is to be recorded; `detail` is made with `audit_detail`."""

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
        """The row as it is exported."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the log: how many rows, and the hash of the last (the genesis, if none)."""

    count: int
    hash: str


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What verifying found. `first_bad` is the number of the first row that is wrong or missing."""

    ok: bool
    count: int
    head: str
    first_bad: int | None = None
    reason: str | None = None


def audit_detail(**fields: object) -> str:
    """Fields as bounded canonical JSON; what is too long is replaced by its size and digest.

    Fields that are None are left out. Nothing secret may be put in.
    """
    whole = canonical_json({k: _encodable(v) for k, v in fields.items() if v is not None})
    if len(whole) <= MAX_DETAIL_BYTES:
        return whole.decode()
    short = {"truncated": True, "bytes": len(whole), "sha256": sha256_hex(whole)}
    short["begin"] = whole[: MAX_DETAIL_BYTES // 4].decode(errors="replace")
    return canonical_json(short).decode()


def _encodable(value: object) -> object:
    # Anybody may send half of a surrogate pair, which is no character in UTF-8.
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    return value


def genesis(instance: str) -> str:
    """What stands in for the hash before the first row of an instance's log."""
    return sha256_hex(canonical_json({"log": "agency/audit/1", "instance": instance}))


def row_hash(row: AuditRow) -> str:
    """The hash that the row ought to have: over all fields but the hash itself."""
    fields = asdict(row)
    del fields["hash"]
    return sha256_hex(canonical_json(fields))


def next_row(head: Head, entry: AuditEntry, ts: str) -> AuditRow:
    """The row that follows `head`."""
    row = AuditRow(
        sequence=head.count + 1,
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
    return replace(row, hash=row_hash(row))


def verify_chain(
    rows: Iterable[AuditRow], *, instance: str, expected: Head | None = None
) -> ChainReport:
    """Check a log from its first row.

    With `expected`, the log must hold that many rows at least, and the hash at that place: an
    older head stays good while the log grows.
    """
    head = Head(0, genesis(instance))

    def bad(sequence: int, reason: str) -> ChainReport:
        return ChainReport(False, head.count, head.hash, sequence, reason)

    for row in rows:
        wanted = head.count + 1
        if row.sequence != wanted:
            kind = "is missing" if row.sequence > wanted else "comes twice or out of order"
            return bad(min(row.sequence, wanted), f"row {min(row.sequence, wanted)} {kind}")
        if row.hash != row_hash(row):
            return bad(wanted, f"row {wanted} was edited: its hash is not that of its fields")
        if row.previous != head.hash:
            what = "this instance's log" if wanted == 1 else f"row {wanted - 1}"
            return bad(wanted, f"row {wanted} does not follow {what}")
        head = Head(wanted, row.hash)
        if expected is not None and expected.count == wanted and expected.hash != row.hash:
            return bad(wanted, f"row {wanted} is not the one that the given head names")
    if expected is not None and expected.count > head.count:
        missing = head.count + 1
        return bad(missing, f"the log ends after row {head.count}, the given head is later")
    return ChainReport(True, head.count, head.hash)
