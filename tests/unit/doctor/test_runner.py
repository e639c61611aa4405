"""The checks are independent: one that fails, hangs or dies hides no other."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from agency.doctor.finding import Check, Finding, Level, Subject, bad, ok
from agency.doctor.registry import CHECKS
from agency.doctor.runner import run_checks
from agency.errors import PrerequisiteError

NOBODY = Subject(None)


def good(_: Subject) -> Iterator[Finding]:
    yield ok("good", "fine")


def refusing(_: Subject) -> Iterator[Finding]:
    yield ok("first", "fine")
    raise PrerequisiteError("is missing", where="/x", hint="make it")


def broken(_: Subject) -> Iterator[Finding]:
    yield from ()
    raise ZeroDivisionError("x")


def test_a_failure_is_a_finding_and_the_others_go_on() -> None:
    checks = [Check("a", refusing), Check("b", broken), Check("c", good)]
    found = run_checks(checks, NOBODY)
    assert found == [
        ok("first", "fine"),
        bad("/x", "is missing", "make it"),
        bad("b", "the check failed: ZeroDivisionError: x", "this is a defect; report it"),
        ok("good", "fine"),
    ]


def test_a_check_that_hangs_is_told_and_waited_for_once() -> None:
    release = threading.Event()

    def hanging(_: Subject) -> Iterator[Finding]:
        yield ok("before", "fine")
        release.wait(60)

    begun = time.monotonic()
    hung = [Check(name, hanging) for name in ("x", "y", "z")]
    try:
        found = run_checks([*hung, Check("c", good)], NOBODY, limit_s=0.5)
    finally:
        release.set()
    assert time.monotonic() - begun < 5
    assert [one.subject for one in found] == ["before", "x", "before", "y", "before", "z", "good"]
    assert [one.level for one in found if one.subject in "xyz"] == [Level.BAD] * 3
    assert found[1].message == "gave no answer in 0.5 s"


def test_names_are_distinct() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS) >= 10
