"""The Statement that a spin-up signs: that of v1, with a predicate type of its own.

It adds the subject `libraries` and the predicate's `challenge` and `profile`.

docs/transcript.md describes every field; schema.json is generated from this module.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from agency.transcript.rules.v1 import model as v1
from agency.transcript.rules.v1.model import (
    STATEMENT_TYPE,
    Exchange,
    Label,
    Many,
    Probe,
    Result,
    _Part,
    normalised,
)

__all__ = [
    "PREDICATE_TYPE",
    "STATEMENT_TYPE",
    "Exchange",
    "Predicate",
    "Probe",
    "Result",
    "Statement",
    "Subject",
    "normalised",
]

PREDICATE_TYPE = "urn:agency:spinup-transcript:v2"


class Subject(v1.Subject):
    """Object of the statement, by digest."""

    # A subject more than v1 has; where v1's code names one, it is one of v1's.
    name: Literal["source", "instance", "system", "libraries"]  # type: ignore[assignment]


class Predicate(v1.Predicate):
    """Record of what happened, what was seen, and what follows from it."""

    challenge: Label | None = Field(
        default=None, description="text that the verifier chose before the run"
    )
    profile: Many[Label] = Field(
        default=(), description="parts that were examined beside what every run is, by name"
    )

    @model_validator(mode="after")
    def _parts_once(self) -> Self:
        if len(set(self.profile)) != len(self.profile):
            raise ValueError("profile: a part comes twice")
        return self


class Statement(_Part):
    """An in-toto Statement v1."""

    type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: Many[Subject]
    predicate_type: Literal["urn:agency:spinup-transcript:v2"]
    predicate: Predicate

    @model_validator(mode="after")
    def _subjects(self) -> Self:
        names = [subject.name for subject in self.subject]
        if len(set(names)) != len(names):
            raise ValueError("a subject comes twice")
        missing = {"source", "instance"} - set(names)
        if missing:
            raise ValueError(f"subject missing: {', '.join(sorted(missing))}")
        return self

    def document(self) -> dict[str, Any]:
        """Return the statement as JSON data; its canonical form is what gets signed."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)
