"""Evidence of a search for secrets."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from agency.transcript.rules.v2.rule import Count, ProbeRule, Shape, Zero

Nothing = Annotated[tuple[str, ...], Field(strict=False, max_length=0)]


class SecretsAbsent(Shape):
    """A search for every secret value of the run where none may be, while agents run."""

    secrets_checked: Count
    files_searched: Count
    argv_searched: Count
    journal_bytes: Count | None = None  # of a machine of its own
    findings: Zero
    places: Nothing


class SecretsLeft(Shape):
    """The same search of a machine after all that was done to it."""

    secrets_checked: Count
    files_searched: Count
    argv_searched: Count
    journal_bytes: Count
    findings: Zero
    places: Nothing


RULES = (
    ProbeRule(
        "secrets.absent",
        "No secret value of the run is in files, argument lists, environments or evidence.",
        SecretsAbsent,
    ),
    ProbeRule(
        "secrets.left",
        "At the end no secret value is there either, nor in the journal of all that was done.",
        SecretsLeft,
        frozenset(("incus",)),
    ),
)
