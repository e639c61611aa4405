"""What pytest's report says of each test."""

import pytest

from agency.spinup.guest.looking.suite import read_report

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
