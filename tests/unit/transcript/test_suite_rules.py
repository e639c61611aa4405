"""What the suite must have shown, and what it may leave out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from agency.transcript.rules.v2 import judge
from agency.transcript.rules.v2.model import Predicate
from agency.transcript.rules.v2.suite import CLAIMS, READ_ONLY, Skip

Document = dict[str, Any]
Permitted = tuple[str, Skip]
EVERY_SKIP = [(claim, skip) for claim, known in CLAIMS.items() for skip in known.skips]


def each(skips: Iterable[Permitted]) -> pytest.MarkDecorator:
    """Runs a test with each of these skips as `permitted`."""
    found = list(skips)
    ids = [f"{claim}-{skip.case}" for claim, skip in found]
    return pytest.mark.parametrize("permitted", found, ids=ids)


IN_GUEST = [(claim, skip) for claim, skip in EVERY_SKIP if skip.guest]
OF_IMAGE = [(claim, skip) for claim, skip in EVERY_SKIP if skip.image]
NETWORK = [(claim, skip) for claim, skip in EVERY_SKIP if not skip.guest]


def passed(*claims: str, case: str | None = None) -> list[Document]:
    return [
        {
            "claim": claim,
            "case": case,
            "name": f"a test of {claim} {case}",
            "outcome": "passed",
            "message": None,
        }
        for claim in claims
    ]


def skipped(claim: str, case: str | None, reason: str) -> Document:
    return {
        "claim": claim,
        "case": case,
        "name": f"a test of {claim}, left out {case}",
        "outcome": "skipped",
        "message": reason,
    }


def as_permitted(permitted: Permitted, reason: str | None = None) -> Document:
    claim, skip = permitted
    return skipped(claim, skip.case, reason or skip.reason)


def without(*claims: str) -> list[Document]:
    """A suite that shows all claims but these."""
    return passed(*(claim for claim in CLAIMS if claim not in claims))


def undisturbed(tests: list[Document]) -> list[Document]:
    """What a look at a host can have of them."""
    return [test for test in tests if test["claim"] in READ_ONLY]


def guest(tests: list[Document]) -> str:
    """Why a guest's suite is refused; nothing where it holds."""
    return judge.PROBES["suite.results"].judge({"tests": tests}).reason


def host(tests: list[Document], *, read_only: bool) -> str:
    """Why a host's suite is refused."""
    return judge.PROBES["suite.host"].judge({"readOnly": read_only, "tests": tests}).reason


def evidence_of(document: Document, probe: str) -> Document:
    (found,) = (p["evidence"] for p in document["predicate"]["probes"] if p["name"] == probe)
    evidence: Document = found
    return evidence


def reasons(document: Document) -> str:
    return "\n".join(judge.overall(Predicate.model_validate(document["predicate"]))[1])


def test_every_claim_that_passed_is_enough() -> None:
    assert guest(passed(*CLAIMS)) == ""
    assert host(passed(*CLAIMS), read_only=False) == ""
    assert host(passed(*READ_ONLY), read_only=True) == ""
    assert 10 < len(READ_ONLY) < len(CLAIMS)


def test_several_tests_may_show_one_claim_and_their_names_mean_nothing() -> None:
    tests = passed(*CLAIMS) + passed(*CLAIMS, case="/run")
    assert guest(tests) == ""
    for number, test in enumerate(tests):
        test["name"] = f"renamed {number}"
    assert guest(tests) == ""
    tests[1]["name"] = tests[0]["name"]
    assert "one comes twice" in guest(tests)


@pytest.mark.parametrize("claim", CLAIMS)
def test_no_claim_may_be_missing(claim: str) -> None:
    tests = without(claim)
    assert f"none passed of {claim}" in guest(tests)
    assert f"none passed of {claim}" in host(tests, read_only=False)
    looked = host(undisturbed(tests), read_only=True)
    assert (f"none passed of {claim}" in looked) == (claim in READ_ONLY)


@pytest.mark.parametrize("claim", CLAIMS)
def test_nothing_is_left_out_for_a_reason_of_its_own(claim: str) -> None:
    """Nor beside a test of the same claim that passed."""
    left_out = skipped(claim, None, "no right")
    for tests in ([*without(claim), left_out], [*passed(*CLAIMS), left_out]):
        for reason in (guest(tests), host(tests, read_only=False)):
            assert f"{left_out['name']} was skipped, and nothing allows that" in reason
        looked = host(undisturbed(tests), read_only=True)
        assert ("nothing allows that" in looked) == (claim in READ_ONLY)


@pytest.mark.parametrize("outcome", ["failed", "error"])
def test_no_claim_may_have_failed_though_another_test_shows_it(outcome: str) -> None:
    for bad in passed(*CLAIMS, case="another"):
        tests = [*passed(*CLAIMS), bad | {"outcome": outcome, "message": "assert 1 == 2"}]
        assert f"ended as {outcome}" in guest(tests), bad["claim"]


@pytest.mark.parametrize("value", [7, True, 1.5, [], {}, "", "unknown", "x" * 5000], ids=repr)
def test_a_case_is_text_or_null(value: object) -> None:
    tests = passed(*CLAIMS)
    for good in (None, "/run"):
        tests[3]["case"] = good
        assert guest(tests) == ""
    tests[3]["case"] = value
    assert "tests.3.case" in guest(tests)
    del tests[3]["case"]
    assert "tests.3.case" in guest(tests)


def test_a_suite_in_which_nearly_everything_was_skipped_is_refused() -> None:
    left_out = [as_permitted(permitted) for permitted in IN_GUEST]
    assert "none passed of" in guest(left_out)
    assert "none passed of" in guest([*passed("nothing-failed", "memory-of-another"), *left_out])
    words = [skipped(claim, None, "not today") for claim in CLAIMS if claim != "nothing-failed"]
    assert "nothing allows that" in guest([*passed("nothing-failed"), *words])


@pytest.mark.parametrize("claim", ["moon-is-cheese", "test_ports.py::test_it", "Memory", "", "ok"])
def test_a_claim_that_is_unknown_is_refused(claim: str) -> None:
    tests = [*passed(*CLAIMS), *passed(claim)]
    assert claim not in CLAIMS
    for reason in (guest(tests), host(tests, read_only=False)):
        assert "no claim of these rules" in reason or "claim: " in reason


@pytest.mark.parametrize("claim", [claim for claim in CLAIMS if claim not in READ_ONLY])
def test_a_host_that_is_only_looked_at_is_not_disturbed(claim: str) -> None:
    tests = passed(*READ_ONLY, claim)
    assert f"{claim} disturbs, and the host was only looked at" in host(tests, read_only=True)


@each(IN_GUEST)
def test_what_a_machine_cannot_show_may_be_left_out_in_these_words(permitted: Permitted) -> None:
    claim, skip = permitted
    others, some = without(claim), passed(claim, case="/elsewhere")
    assert guest([*others, *some, as_permitted(permitted)]) == ""
    assert "nothing allows that" in guest([*others, *some, as_permitted(permitted, "no network")])
    elsewhere = skipped(claim, "/elsewhere", skip.reason)
    alone = guest([*others, as_permitted(permitted)])
    if skip.case is None:
        assert alone == ""
    else:
        assert f"none passed of {claim}" in alone
        assert "nothing allows that" in guest([*others, *some, elsewhere])


def test_only_a_host_may_have_a_network() -> None:
    claims = {claim for claim, _ in NETWORK}
    assert claims == {"no-interface", "no-way-out"}
    tests = [*without(*claims), *(as_permitted(permitted) for permitted in NETWORK)]
    assert "was skipped in a guest" in guest(tests)
    assert host(tests, read_only=False) == ""
    assert host(undisturbed(tests), read_only=True) == ""


@each(OF_IMAGE)
def test_what_one_kind_of_guest_cannot_show_another_must(
    permitted: Permitted, guest_document: Document
) -> None:
    claim, skip = permitted
    field, value = skip.image or ("", "")
    left_out = as_permitted(permitted)
    tests = evidence_of(guest_document, "suite.results")["tests"]
    if skip.case is None:
        tests[:] = [test for test in tests if test["claim"] != claim]
    tests.append(left_out)
    evidence_of(guest_document, "guest.image")[field] = value
    wrong = f"{left_out['name']} was skipped in a guest that is no {value}"
    assert judge.PROBES["suite.results"].judge({"tests": tests}).ok
    assert wrong not in reasons(guest_document)
    other = {"container": "virtual-machine", "nixos": "debian"}[value]
    evidence_of(guest_document, "guest.image")[field] = other
    assert wrong in reasons(guest_document)


def test_a_host_at_work_shows_what_it_can_bear() -> None:
    failed = {**passed("ports-on-loopback", case="x")[0], "outcome": "failed", "message": "why"}
    looked = passed(*READ_ONLY)
    assert host(looked, read_only=True) == ""
    assert "ended as failed" in host([*looked, failed], read_only=True)
    assert "readOnly" in judge.PROBES["suite.host"].judge({"tests": passed(*CLAIMS)}).reason


def test_who_talked_to_a_host_did_not_spare_it(
    host_document: Document, talked_document: Document
) -> None:
    assert "readOnly is not" not in reasons(host_document) + reasons(talked_document)
    evidence_of(talked_document, "suite.host").update(readOnly=True, tests=passed(*READ_ONLY))
    assert "suite.host: readOnly is not what the scenario shows" in reasons(talked_document)
