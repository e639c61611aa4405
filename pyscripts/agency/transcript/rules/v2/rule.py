"""Rule of a probe, and the types that describe its evidence.

Evidence is described by a pydantic model: every field of it must be there, have exactly that type
and hold. Fields beyond the model are kept in the transcript and not judged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)
from pydantic.alias_generators import to_camel

from agency.transcript.problems import explain
from agency.transcript.rules.v2.model import Target

Item = TypeVar("Item")

# What every target must show, also a host that is only looked at.
EVERYWHERE: frozenset[Target] = frozenset(("local", "incus", "ssh"))

# Words that say what somebody meant to see. None of them is something that was seen.
PLACEHOLDERS = frozenset(
    (
        "assumed",
        "configured",
        "dummy",
        "enabled",
        "expected",
        "fake",
        "mock",
        "mocked",
        "n/a",
        "none",
        "null",
        "ok",
        "passed",
        "placeholder",
        "planned",
        "ready",
        "simulated",
        "skipped",
        "stub",
        "success",
        "tbd",
        "todo",
        "true",
        "undefined",
        "unknown",
        "verified",
        "yes",
    )
)


class Shape(BaseModel):
    """The base of all descriptions of evidence; field names are camelCase in the transcript."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, alias_generator=to_camel)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Outcome of judging evidence; `reason` names the field that does not hold, or is empty."""

    ok: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ProbeRule:
    """Rule that judges the evidence of one probe, and the targets that must have it."""

    name: str
    description: str
    shape: type[Shape]
    targets: frozenset[Target] = frozenset(("local", "incus"))

    def mandatory_for(self, target: str) -> bool:
        """Return True if a transcript of this target cannot pass without the probe."""
        return target in self.targets

    def judge(self, evidence: Mapping[str, Any]) -> Verdict:
        """Judge what was seen. Never raises: what cannot be judged does not hold."""
        try:
            self.shape.model_validate(evidence)
        except ValidationError as error:
            return Verdict(False, explain(error))
        return Verdict(True)


def only(value: object) -> AfterValidator:
    """Exactly this value; with the field's strict type, so that 1 is not true and 200.0 not 200."""

    def check(found: Item) -> Item:
        if found != value:
            raise ValueError(f"must be {value!r}")
        return found

    return AfterValidator(check)


def matches(pattern: str, what: str) -> AfterValidator:
    """Text that is, from end to end, what the pattern describes."""
    compiled = re.compile(pattern)

    def check(found: str) -> str:
        if not compiled.fullmatch(found):
            raise ValueError(f"is not {what}")
        return found

    return AfterValidator(check)


def _is_seen(found: str) -> str:
    if found.strip().lower() in PLACEHOLDERS:
        raise ValueError("is a placeholder and not something that was seen")
    return found


Some = Annotated[tuple[Item, ...], Field(strict=False, min_length=1)]
All = Annotated[tuple[Item, ...], Field(strict=False)]

Seen = Annotated[str, StringConstraints(min_length=1, max_length=4096), AfterValidator(_is_seen)]
Path = Annotated[Seen, matches(r"/[^\0]*", "an absolute path")]
Url = Annotated[Seen, matches(r"https?://[^\s/]+(?:/\S*)?", "an http or https URL")]
Version = Annotated[
    Seen, matches(r"v?[0-9]+(?:\.[0-9]+)+[0-9A-Za-z.+-]*", "a version such as 1.2.3")
]
Revision = Annotated[Seen, matches(r"[0-9A-Za-z_]{1,64}", "a schema revision")]
Sha256 = Annotated[str, matches(r"[0-9a-f]{64}", "64 lower-case hexadecimal digits")]
EventId = Annotated[str, matches(r"\$[\x21-\x7e]{2,254}", "a Matrix event id ($...)")]
MatrixId = Annotated[
    str, matches(r"@[a-z0-9._=/+-]{1,200}:[A-Za-z0-9.:\[\]-]{1,200}", "a full Matrix id")
]
Name = Annotated[str, matches(r"[a-z][a-z0-9-]{0,62}", "a name")]

Pid = Annotated[int, Field(gt=1)]
Count = Annotated[int, Field(gt=0)]
Zero = Annotated[int, only(0)]
Yes = Annotated[bool, only(True)]
No = Annotated[bool, only(False)]
Http200 = Annotated[int, only(200)]
Http401 = Annotated[int, only(401)]
Http403 = Annotated[int, only(403)]
