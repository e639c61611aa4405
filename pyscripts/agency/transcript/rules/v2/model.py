"""The Statement that a spin-up signs: an in-toto Statement v1 with a predicate of our own.

Source: in-toto attestation framework, spec v1 (Statement, ResourceDescriptor, DigestSet).
docs/transcript.md describes every field; schema.json is generated from this module.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    model_validator,
)
from pydantic.alias_generators import to_camel

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:agency:spinup-transcript:v2"
DECIMALS = 3  # of every number that is not whole

Target = Literal["local", "incus", "ssh"]
Result = Literal["PASSED", "FAILED"]

Item = TypeVar("Item")
# Strictness is about the items: a JSON array and a Python list both make a tuple.
Many = Annotated[tuple[Item, ...], Field(strict=False)]

_DIGESTS = {
    "sha256": re.compile(r"[0-9a-f]{64}\Z"),
    "gitCommit": re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z"),
    "gitTree": re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z"),
}
_SURROGATES = re.compile("[\ud800-\udfff]")


def _moment(text: str) -> str:
    datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z")
    return text


Moment = Annotated[
    str,
    StringConstraints(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$"
    ),
    AfterValidator(_moment),
    Field(description="RFC 3339 in UTC with milliseconds"),
]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False, description="seconds")]
Label = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Lines = Many[str]
Json = dict[str, JsonValue]


class _Part(BaseModel):
    """Strict and closed: nothing is converted, nothing unknown is let through."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, alias_generator=to_camel, ser_json_inf_nan="null"
    )


class Subject(_Part):
    """Subject of the statement, by digest."""

    name: Literal["source", "instance", "system"]
    digest: dict[str, str] = Field(
        description="sha256; of a clean git checkout also gitCommit and gitTree",
        json_schema_extra={
            "required": ["sha256"],
            "propertyNames": {"enum": ["sha256", "gitCommit", "gitTree"]},
            "additionalProperties": {"type": "string", "pattern": "^[0-9a-f]{40}([0-9a-f]{24})?$"},
        },
    )

    @model_validator(mode="after")
    def _known_digests(self) -> Self:
        if "sha256" not in self.digest:
            raise ValueError("a subject needs a sha256 digest")
        for algorithm, value in self.digest.items():
            pattern = _DIGESTS.get(algorithm)
            if pattern is None:
                raise ValueError(f"unknown digest algorithm {algorithm!r}")
            if not pattern.match(value):
                raise ValueError(f"not a {algorithm} digest in lower-case hexadecimal digits")
        return self


class Environment(_Part):
    """The machine that the spin-up ran on; no host name, user name or address."""

    os: Label
    kernel: Label
    machine: Label
    python: Label
    cpus: int = Field(ge=1)
    memory_mb: int = Field(ge=1, description="MiB")
    user: Literal["root", "unprivileged"]


class Step(_Part):
    """One step of the spin-up, in the order in which they ran."""

    name: Label
    started_at: Moment
    duration_s: Seconds
    status: Literal["done", "failed", "skipped"]
    error: str | None = None
    log_tail: Lines = Field(default=(), description="the end of the log that explains the error")


class Probe(_Part):
    """One observed fact with its evidence; `status` is a claim that the verifier judges again."""

    name: Label
    mandatory: bool
    mode: Literal["observed", "simulated"]
    status: Literal["passed", "failed"]
    at: Moment
    duration_s: Seconds
    evidence: Json
    reason: str | None = Field(default=None, description="why it failed")


class Exchange(_Part):
    """One thing that was said to the agency, and what came of it."""

    name: Label
    said: str = Field(description="the message's text, or the request")
    by: Label = Field(
        description="full Matrix id of the sender, or the party that sent the request"
    )
    expected: str
    observed: Json
    passed: bool


class Attempt(_Part):
    """One outbound connection attempt."""

    destination: Label
    outcome: Literal["refused", "unreachable", "timed-out", "connected"]
    error: str | None = None


class Quarantine(_Part):
    """Network as the spin-up saw it; repeats the evidence of probe quarantine.outbound."""

    mode: Literal["network-namespace", "guest", "none"]
    interfaces: Many[str]
    attempts: Many[Attempt]
    met: bool
    reason: str


class Gate(_Part):
    """A claim above the result, and the probes that carry it; see docs/transcript.md."""

    name: Label
    met: bool
    reason: str


class Audit(_Part):
    """The head of the audit chain; repeats the evidence of probe audit.chain."""

    count: int = Field(ge=0)
    head: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Failure(_Part):
    """Why the spin-up ended early."""

    step: Label
    message: str
    log_tail: Lines


class Predicate(_Part):
    """Events of a run, observations in it, and the result."""

    run: Label = Field(description="the run's id")
    target: Target
    started_at: Moment
    finished_at: Moment
    environment: Environment
    steps: Many[Step]
    probes: Many[Probe]
    scenario: Many[Exchange]
    versions: dict[str, str]
    quarantine: Quarantine
    gates: Many[Gate]
    audit: Audit | None
    failure: Failure | None
    result: Result

    @model_validator(mode="before")
    @classmethod
    def _normalise(cls, value: Any) -> Any:
        return normalised(value)


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


def normalised(value: Any) -> Any:
    """Round floats to DECIMALS in JSON data, and replace text that UTF-8 cannot hold."""
    if isinstance(value, float):
        return round(value, DECIMALS)
    if isinstance(value, str):
        return _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, dict):
        return {normalised(key): normalised(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [normalised(item) for item in value]
    return value
