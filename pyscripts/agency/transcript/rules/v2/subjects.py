"""Comparison of a transcript's subjects with its evidence: that of v1, and whose services."""

from __future__ import annotations

from collections.abc import Iterator

from agency.transcript.rules.v1 import subjects as v1
from agency.transcript.rules.v1.subjects import SYSTEM, system_digest
from agency.transcript.rules.v2.model import Statement
from agency.transcript.rules.v2.shop import broken_digest

__all__ = ["SYSTEM", "broken_subjects", "system_digest"]


def broken_subjects(statement: Statement) -> Iterator[str]:
    """Yield the subjects that the evidence does not show."""
    yield from v1.broken_subjects(statement)  # type: ignore[arg-type]  # it reads what both have
    named = {subject.name: subject.digest["sha256"] for subject in statement.subject}
    seen = {entry.name: entry.evidence for entry in statement.predicate.probes}
    problem = broken_digest(seen, named.get("instance"))
    if problem is not None:
        yield problem
