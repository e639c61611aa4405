"""`result.json` as pages read it: of this version, of another, or damaged."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recipe_history import failed, result

from agency.recipes.dashboard.views.result import MOST_ROWS, MOST_TESTS, read_result, table


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
