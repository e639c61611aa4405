"""`result.json` as pages read it: of this version, of another, or damaged."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recipe_history import failed, result

from agency.recipes.dashboard.views.result import MOST_ROWS, MOST_TESTS, read_result, table
from agency.recipes.facts import Deadline, Facts
from agency.recipes.outcome import CaseResult, Outcome, StageResult, Teardown
from agency.recipes.run.report import Report


def test_a_whole_one_is_read() -> None:
    found = read_result(json.dumps(result("r00000000")))
    assert (found.faults, found.there, found.clean) == ((), True, True)
    assert [stage.outcome for stage in found.stages] == ["pass"] * 4
    assert found.stages[1].notes == ("from 1.0.0+1.26.0",)
    assert found.version == "1.1.0+1.27.2"
    assert found.screenshots == ("front.png",)
    assert found.images is not None
    assert found.images.columns == ("service", "image", "digest")
    assert found.usage is not None
    assert found.usage.rows == (("memory_mib", "118"), ("cpu_seconds", "3.25"))
    assert found.overlay is None, "it is empty"


def test_what_a_run_writes_is_read_whole() -> None:
    """By the writer of a run itself: no key of it has another form here."""
    stages = (
        StageResult("install", Outcome.PASS, 12.34, tests=(CaseResult("t", Outcome.PASS, 0.5),)),
        StageResult("upgrade", Outcome.ERROR, 1.0, "no swarm", notes=("from 1.0.0+1",)),
    )
    report = Report(
        "r00000000", "wiki", "a" * 40, True, "w.ci.test", "abra 0.11", "2026-11-26T20:00:00.000Z",
        13.4, stages, Teardown(("a volume",), ("a network",)), "artifacts/r00000000", "1.0.0+2",
    )  # fmt: skip
    found = read_result(json.dumps(report.as_dict()))
    assert found.faults == ()
    assert (found.modified, found.domain, found.abra) == (True, "w.ci.test", "abra 0.11")
    assert (found.version, found.seconds) == ("1.0.0+2", 13.4)
    assert (found.clean, found.swept, found.left) == (False, ("a volume",), ("a network",))
    install, upgrade = found.stages
    assert (install.outcome, install.seconds, install.passed) == ("pass", 12.3, 1)
    assert (upgrade.outcome, upgrade.reason, upgrade.notes) == (
        "error", "no swarm", ("from 1.0.0+1",),
    )  # fmt: skip


def test_a_deadline_is_read_as_a_run_writes_it() -> None:
    facts = Facts(deadline=Deadline(3600.0, True))
    found = read_result(json.dumps(facts.as_dict()))
    assert (found.faults, found.deadline_s, found.deadline_reached) == ((), 3600.0, True)
    none = read_result(json.dumps(Facts().as_dict()))
    assert (none.faults, none.deadline_s, none.deadline_reached) == ((), None, False)


def test_a_failure_has_its_reason() -> None:
    stage = read_result(json.dumps(failed("r00000000"))).stages[1]
    assert (stage.outcome, stage.passed) == ("fail", 0)
    assert "502 Bad Gateway" in stage.tests[0].reason


def test_none_is_no_fault() -> None:
    found = read_result(None)
    assert (found.there, found.faults) == (False, ())


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is damaged"),
        ('{"stages": [', "is damaged"),
        ("[1]", "no JSON object"),
        ("null", "no JSON object"),
        ("[" * 100_000, "is damaged"),
        ('{"n": ' + "9" * 5000 + "}", "is damaged"),
        ('{"stages": 7}', "stages cannot be read"),
        ('{"stages": ["install"]}', "stage 1 cannot be read"),
        ('{"teardown": []}', "teardown cannot be read"),
    ],
)
def test_damage_is_told(text: str, fault: str) -> None:
    assert any(fault in one for one in read_result(text).faults)


def test_what_is_there_is_shown_although_the_rest_is_damaged() -> None:
    document = failed("r00000000") | {"teardown": 3, "usage": "much", "more": {"new": [1]}}
    document["stages"].append({"name": 7, "outcome": "maybe", "seconds": "long", "tests": {}})
    found = read_result(json.dumps(document))
    assert len(found.faults) == 1
    assert [stage.outcome for stage in found.stages] == ["pass", "fail", "skip", "skip", "unknown"]
    assert found.stages[-1].name == "stage 5"
    assert found.usage is not None
    assert found.usage.rows == (("", "much"),)


def test_it_is_bounded() -> None:
    many = [{"name": "t", "outcome": "pass"}] * (MOST_TESTS + 5)
    (stage,) = read_result(json.dumps({"stages": [{"tests": many}]})).stages
    assert (len(stage.tests), stage.more_tests) == (MOST_TESTS, 5)
    wide = table({str(n): {"a": {"b": n}} for n in range(10_000)})
    assert wide is not None
    assert len(wide.rows) == MOST_ROWS


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
_KEYS = st.sampled_from(
    ["stages", "teardown", "screenshots", "images", "usage", "overlay", "seconds", "version"]
)


@given(st.dictionaries(_KEYS, _ANY))
def test_no_document_is_an_error(document: dict[str, object]) -> None:
    found = read_result(json.dumps(document))
    assert found.there
    assert all(isinstance(cell, str) for row in (found.usage.rows if found.usage else ())
               for cell in row)  # fmt: skip
