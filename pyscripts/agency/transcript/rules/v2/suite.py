"""Rules of the suite: every claim was shown, and no test was left out without a permitted reason.

tests/guest --marker `claim`--> claims.json --> these rules <-- evidence: each test with its claim

A claim outlives its tests: they may be renamed, moved, split and joined. claims.json is written by
tools/docgen/claims.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, TypeAdapter, model_validator

from agency.transcript.rules.v1.rule import ProbeRule, Seen, Shape, Some, matches
from agency.transcript.rules.v2.model import Predicate


class Known(BaseModel):
    """The base of the records in claims.json."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Skip(Known):
    """A test that may be left out: its exact words, and the only kind of machine."""

    reason: str
    case: str | None  # the one parameter set that may be; None: all tests of the claim
    image: tuple[str, str] | None  # what guest.image must say then: field and value
    guest: bool  # False: no throwaway guest may leave it out


class Claim(Known):
    """A claim about isolation that a test of the suite shows."""

    disturbs: bool  # no test of it runs on a host that is only looked at
    skips: tuple[Skip, ...]


CLAIMS: Mapping[str, Claim] = TypeAdapter(dict[str, Claim]).validate_json(
    (resources.files(__package__) / "claims.json").read_bytes()
)
READ_ONLY: Mapping[str, Claim] = {
    claim: known for claim, known in CLAIMS.items() if not known.disturbs
}


def permitted_skip(claim: str, case: str | None, reason: str | None) -> Skip | None:
    """Return the entry that lets a test of a claim be left out with these words, if any."""
    for skip in CLAIMS[claim].skips if claim in CLAIMS else ():
        if skip.reason == reason and skip.case in (None, case):
            return skip
    return None


class SuiteTest(Shape):
    """One test of the suite, with the claim that it shows; one that was left out says why."""

    claim: Annotated[Seen, matches(r"[a-z][a-z0-9-]*", "the id of a claim")]
    case: Seen | None
    name: Seen
    outcome: Literal["passed", "skipped", "failed", "error"]
    message: str | None

    @model_validator(mode="after")
    def _reason(self) -> Self:
        if self.outcome in ("failed", "error"):
            raise ValueError(f"{self.name} ended as {self.outcome}")
        if self.outcome == "skipped" and not (self.message or "").strip():
            raise ValueError("message: skipped without a reason")
        return self


class SuiteResults(Shape):
    """Every test of the suite that looked at the guest from inside."""

    tests: Some[SuiteTest]
    in_guest: ClassVar[bool] = True

    def expected(self) -> Mapping[str, Claim]:
        """Return the claims that must have been shown, and no others."""
        return CLAIMS

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len({test.name for test in self.tests}) != len(self.tests):
            raise ValueError("tests: one comes twice")
        return self

    @model_validator(mode="after")
    def _claims_are_expected(self) -> Self:
        for test in self.tests:
            if test.claim not in CLAIMS:
                raise ValueError(f"tests: {test.claim} is no claim of these rules")
            if test.claim not in self.expected():
                raise ValueError(f"tests: {test.claim} disturbs, and the host was only looked at")
        return self

    @model_validator(mode="after")
    def _left_out_for_a_reason(self) -> Self:
        for test in self.tests:
            if test.outcome == "skipped":
                skip = permitted_skip(test.claim, test.case, test.message)
                if skip is None:
                    raise ValueError(f"tests: {test.name} was skipped, and nothing allows that")
                if self.in_guest and not skip.guest:
                    raise ValueError(f"tests: {test.name} was skipped in a guest")
        return self

    @model_validator(mode="after")
    def _all_is_shown(self) -> Self:
        shown = {test.claim for test in self.tests if test.outcome == "passed" or _whole(test)}
        missing = [claim for claim in self.expected() if claim not in shown]
        if missing:
            raise ValueError(f"tests: none passed of {', '.join(missing)}")
        return self


def _whole(test: SuiteTest) -> bool:
    """Return whether the test was left out together with all that shows its claim."""
    skip = permitted_skip(test.claim, test.case, test.message)
    return test.outcome == "skipped" and skip is not None and skip.case is None


class HostSuite(SuiteResults):
    """The suite on a host that runs already; one at work is spared what disturbs."""

    in_guest: ClassVar[bool] = False
    read_only: bool

    def expected(self) -> Mapping[str, Claim]:
        """Return those that a host at work can bear, or all."""
        return READ_ONLY if self.read_only else super().expected()


def skips_of_its_image(image: Mapping[str, Any], suite: Mapping[str, Any]) -> str | None:
    """Return how the suite left out what a guest of that kind can show, if it did."""
    for test in suite["tests"]:
        skip = permitted_skip(test["claim"], test["case"], test["message"])
        if test["outcome"] == "skipped" and skip is not None and skip.image is not None:
            field, value = skip.image
            if image[field] != value:
                return f"suite.results: {test['name']} was skipped in a guest that is no {value}"
    return None


def spared_when_looked_at(suite: Mapping[str, Any], predicate: Predicate) -> str | None:
    """Return how `readOnly` differs from what the scenario shows, if it does."""
    if suite["readOnly"] == bool(predicate.scenario):
        return "suite.host: readOnly is not what the scenario shows"
    return None


RULES = (
    ProbeRule(
        "suite.results",
        "Every test of tests/guest, one by one; none failed, and every claim was shown.",
        SuiteResults,
        frozenset(("incus",)),
    ),
    ProbeRule(
        "suite.host",
        "Every test of tests/guest that a host at work can bear, one by one; none failed.",
        HostSuite,
        frozenset(("ssh",)),
    ),
)
