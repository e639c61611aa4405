"""What a search for secrets must show, and what two of them must have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from agency.transcript.rules.v1.rule import Count, ProbeRule, Shape, Zero

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


def tokens_sought(health: Mapping[str, Any], absent: Mapping[str, Any]) -> str | None:
    """A link: every agent that was healthy had a token, and so had the homeserver."""
    if absent["secretsChecked"] <= len(health["agents"]):
        return "secrets.absent: did not look for every agent's token and the homeserver's"
    return None


def sought_again(absent: Mapping[str, Any], left: Mapping[str, Any]) -> str | None:
    """A link: what was a secret is one at the end too, though its owner is gone."""
    if left["secretsChecked"] < absent["secretsChecked"]:
        return "secrets.left: looked for fewer secrets than secrets.absent"
    return None


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
