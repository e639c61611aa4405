"""What pytest's report says of each test."""

from dataclasses import asdict

import pytest

from agency.spinup.suite.runner import disagreement, read_report
from agency.transcript.rules.v2 import judge

# With the properties that the suite's conftest gives a test.
PROPERTIES = (
    '<property name="claim" value="memory-of-another"/><property name="case" value="/run"/>'
)
CASE = '<testcase file="tests/guest/test_a.py" name="test_{0}" time="0.25">{1}</testcase>'


def report(*cases: tuple[str, str]) -> bytes:
    inner = "".join(CASE.format(name, part) for name, part in cases)
    return f"<testsuites><testsuite>{inner}</testsuite></testsuites>".encode()


def test_each_outcome_is_told_apart():
    found = read_report(
        report(
            ("good", ""),
            ("bad", '<failure message="assert 1 == 2">trace</failure>'),
            ("broken", '<error message="setup"/>'),
            ("left", '<skipped message="no reason"/>'),
        )
    )
    assert [(f.name, f.outcome) for f in found.all] == [
        ("test_a.py::test_good", "passed"),
        ("test_a.py::test_bad", "failed"),
        ("test_a.py::test_broken", "error"),
        ("test_a.py::test_left", "skipped"),
    ]
    assert found.all[1].message == "assert 1 == 2"
    assert found.counts == {"passed": 1, "failed": 1, "error": 1, "skipped": 1}
    assert not found.ok


@pytest.mark.parametrize(
    ("cases", "ok"),
    [
        ((("a", ""),), True),
        ((("a", ""), ("b", "<skipped/>")), True),
        ((), False),
        ((("a", "<skipped/>"),), False),
        ((("a", ""), ("b", "<failure/>")), False),
        ((("a", ""), ("b", "<error/>")), False),
    ],
)
def test_only_a_suite_that_ran_and_passed_is_ok(cases, ok):
    assert read_report(report(*cases)).ok is ok


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ('<skipped message="no network"/><error message="left behind"/>', "error"),
        ('<error message="left behind"/><skipped message="no network"/>', "error"),
        ('<failure message="wrong"/><error message="left behind"/>', "error"),
        ('<skipped message="no network"/><failure message="wrong"/>', "failed"),
        ('<skipped type="pytest.skip" message="no network"/>', "skipped"),
        ('<skipped type="pytest.xfail" message="known"/>', "failed"),
        ("<system-out>words</system-out>", "passed"),
    ],
)
def test_the_worst_that_is_said_of_a_test_counts(said, outcome):
    (found,) = read_report(report(("it", said))).all
    assert found.outcome == outcome
    expected = {"error": "left behind", "skipped": "no network", "passed": None}
    assert outcome == "failed" or found.message == expected[outcome]


@pytest.mark.parametrize(
    ("status", "said", "problem"),
    [
        (0, "", None),
        (0, "<skipped/>", None),
        (1, "<failure/>", None),
        (1, "<error/>", None),
        (1, "", "ended with 1, and its report names no failure"),
        (1, "<skipped/>", "ended with 1, and its report names no failure"),
        (0, "<error/>", "ended with 0, and its report names a failure"),
    ],
)
def test_the_report_says_what_the_exit_status_says(status, said, problem):
    assert disagreement(status, read_report(report(("it", said)))) == problem


def test_a_test_is_reported_with_its_claim_and_its_case():
    said = f'<properties>{PROPERTIES}</properties><skipped message="no such place"/>'
    (found,) = read_report(report(("it", said))).all
    assert asdict(found) == {
        "claim": "memory-of-another",
        "case": "/run",
        "name": "test_a.py::test_it",
        "outcome": "skipped",
        "seconds": 0.25,
        "message": "no such place",
    }


def test_a_test_without_a_claim_is_reported_so_and_no_rule_knows_it():
    (found,) = read_report(report(("it", ""))).all
    assert (found.claim, found.case) == ("", None)
    tests = [asdict(found)]
    assert "claim: " in judge.PROBES["suite.results"].judge({"tests": tests}).reason
