"""What the suite must have shown, and what it may leave out."""

from __future__ import annotations

from typing import Any

import pytest

from agency.transcript.rules.v2 import judge
from agency.transcript.rules.v2.features import FEATURES, SHOWN_READ_ONLY
from agency.transcript.rules.v2.model import Predicate
from agency.transcript.rules.v2.suite import REFUSED_DISTURBING, REFUSED_READ_ONLY, SKIPS

Document = dict[str, Any]
REFUSALS = (*REFUSED_READ_ONLY, *REFUSED_DISTURBING)
IN_GUEST = [name for name, skip in SKIPS.items() if skip.guest]
OF_IMAGE = [name for name, skip in SKIPS.items() if skip.image]
NETWORK = [name for name, skip in SKIPS.items() if not skip.guest]


def passed(*names: str) -> list[Document]:
    return [{"name": name, "outcome": "passed", "message": None} for name in names]


def skipped(name: str, reason: str | None = None) -> Document:
    return {"name": name, "outcome": "skipped", "message": reason or SKIPS[name].reason}


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


def test_every_refusal_that_passed_is_enough() -> None:
    assert guest(passed(*REFUSALS)) == ""
    assert host(passed(*REFUSALS), read_only=False) == ""
    assert host(passed(*REFUSED_READ_ONLY), read_only=True) == ""


@pytest.mark.parametrize("name", REFUSALS)
def test_no_refusal_may_be_missing(name: str) -> None:
    tests = passed(*(other for other in REFUSALS if other != name))
    assert name in guest(tests)
    assert name in host(tests, read_only=False)
    assert (name in host(tests, read_only=True)) == (name in REFUSED_READ_ONLY)


@pytest.mark.parametrize("name", [*REFUSALS, "test_limits.py::test_what_fits_in_the_slice_runs"])
def test_nothing_is_left_out_for_a_reason_of_its_own(name: str) -> None:
    tests = [*passed(*(other for other in REFUSALS if other != name)), skipped(name, "no right")]
    for reason in (guest(tests), host(tests, read_only=False), host(tests, read_only=True)):
        assert f"{name} was skipped, and nothing allows that" in reason


def test_a_suite_in_which_one_test_of_each_file_passed_is_refused() -> None:
    tests = passed(*(f"{feature}.py::test_it" for feature in FEATURES))
    assert "none passed of" in guest(tests)
    assert "none passed of" in guest([*tests, *map(skipped, IN_GUEST)])


@pytest.mark.parametrize("name", IN_GUEST)
def test_what_a_machine_cannot_show_may_be_left_out_in_these_words(name: str) -> None:
    function = name.partition("[")[0]
    others = passed(*(other for other in REFUSALS if other != function))
    some = passed(f"{function}[/elsewhere]")
    assert guest([*others, *some, skipped(name)]) == ""
    assert "nothing allows that" in guest([*others, *some, skipped(name, "it has no network")])
    alone = guest([*others, skipped(name)])
    assert (function in alone) == (not SKIPS[name].whole)


def test_only_a_host_may_have_a_network() -> None:
    functions = {name.partition("[")[0] for name in NETWORK}
    tests = [
        *passed(*(name for name in REFUSALS if name not in functions)),
        *map(skipped, NETWORK),
    ]
    assert "was skipped in a guest" in guest(tests)
    for read_only in (False, True):
        loopback = passed("test_network.py::test_loopback_works")
        assert host([*tests, *loopback], read_only=read_only) == ""


@pytest.mark.parametrize("name", OF_IMAGE)
def test_what_one_kind_of_guest_cannot_show_another_must(
    name: str, guest_document: Document
) -> None:
    field, value = SKIPS[name].image or ("", "")
    tests = evidence_of(guest_document, "suite.results")["tests"]
    tests[:] = [*(test for test in tests if test["name"] != name), skipped(name)]
    evidence_of(guest_document, "guest.image")[field] = value
    wrong = f"{name} was skipped in a guest that is no {value}"
    assert wrong not in reasons(guest_document)
    other = {"container": "virtual-machine", "nixos": "debian"}[value]
    evidence_of(guest_document, "guest.image")[field] = other
    assert wrong in reasons(guest_document)


def test_a_host_at_work_shows_what_it_can_bear() -> None:
    assert {*SHOWN_READ_ONLY} <= {name.partition(".py::")[0] for name in REFUSED_READ_ONLY} | {
        "test_system"
    }
    failed = {"name": "test_ports.py::test_it", "outcome": "failed", "message": "why"}
    assert (
        not judge.PROBES["suite.host"]
        .judge({"readOnly": True, "tests": [*passed(*REFUSED_READ_ONLY), failed]})
        .ok
    )
    assert "readOnly" in judge.PROBES["suite.host"].judge({"tests": passed(*REFUSALS)}).reason


def test_who_talked_to_a_host_did_not_spare_it(
    host_document: Document, talked_document: Document
) -> None:
    assert "readOnly is not" not in reasons(host_document) + reasons(talked_document)
    evidence_of(talked_document, "suite.host")["readOnly"] = True
    assert "suite.host: readOnly is not what the scenario shows" in reasons(talked_document)
