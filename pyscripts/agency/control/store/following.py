"""Verification of the audit log while the control plane runs: in parts, so that commands go on."""

from __future__ import annotations

import asyncio
from functools import partial

from agency.chain import Head
from agency.control.store import audit
from agency.control.store.chain import ChainReport, follow_chain, genesis
from agency.store import Database

_ROWS = 2000  # that are read and verified at a time


async def verify_log(database: Database, instance: str, given: Head | None = None) -> ChainReport:
    """Follow the chain up to the newest row, from the first row or from a head kept elsewhere.

    With a head, its row must be there with that hash; what comes before it is not looked at.
    """
    end = await database.read(audit.head)
    start = Head(0, genesis(instance))
    if given is not None and given.sequence > end.sequence:
        reason = f"the log ends at row {end.sequence}, the given head is later"
        return ChainReport(False, end.sequence, end.hash, end.sequence + 1, reason)
    if given is not None and given.sequence == 0 and given != start:
        return ChainReport(False, 0, start.hash, 1, "the given head is of another instance's log")
    report = ChainReport(True, 0, start.hash)
    if given is not None and given.sequence > 1:
        before = given.sequence - 1
        first = await database.read(lambda c: audit.after(c, before, 1))
        report = ChainReport(True, before, first[0].previous if first else "")
    while report.ok and report.count < end.sequence:
        most = min(_ROWS, end.sequence - report.count)
        rows = await database.read(partial(audit.after, sequence=report.count, most=most))
        if not rows:
            break
        head = Head(report.count, report.head)
        report = await asyncio.to_thread(follow_chain, head, rows, expected=given)
    if report.ok and Head(report.count, report.head) != end:
        reason = f"the log ends after row {report.count}, it was left at row {end.sequence}"
        bad = min(report.count, end.sequence) + 1
        return ChainReport(False, report.count, report.head, bad, reason)
    return report
