"""Links between observations: every row is looked at, and every operator tells right from wrong."""

from __future__ import annotations

from typing import Any

import pytest

from agency.transcript.rules.v2 import judge, links
from agency.transcript.rules.v2.model import Predicate

Document = dict[str, Any]


def seen_in(document: Document) -> dict[str, Any]:
    predicate = Predicate.model_validate(document["predicate"])
    run = {"run": links._run(predicate)}
    return {probe.name: probe.evidence for probe in predicate.probes} | run


@pytest.mark.parametrize("row", links.ROWS, ids=str)
def test_a_row_leads_to_what_is_seen(
    row: links.Link, document: Document, profile_document: Document, talked_document: Document
) -> None:
    """A path that leads nowhere would be passed over in silence."""
    assert {row.first, row.second} - {"run"} <= judge.PROBES.keys()
    documents = [seen_in(one) for one in (document, profile_document, talked_document)]
    both = [seen for seen in documents if row.first in seen and row.second in seen]
    assert both
    for seen in both:
        assert links.values(seen[row.first], row.path)
        assert links.values(seen[row.second], row.other)
        assert row.problem(seen[row.first], seen[row.second]) is None


@pytest.mark.parametrize("check", links.CHECKS, ids=lambda check: check[0].__name__)
def test_a_check_is_of_probes_that_there_are(check: tuple[object, str, str]) -> None:
    assert {*check[1:]} - {"transcript"} <= judge.PROBES.keys()


@pytest.mark.parametrize(
    ("relation", "left", "right", "wrong"),
    [
        ("==", [1], [2], [1]),
        ("<=", [3], [2], [3]),
        (">", [2], [2], [2]),
        (">=", [1], [2], [1]),
        ("has", [1], [1, 2], [2]),
        ("in", [1, 2], [2], [1]),
        ("outside", [1, 2], [2], [2]),
        ("same", [1, 2], [2], [1]),
        ("same", [2], [1, 2], [1]),
    ],
)
def test_an_operator_finds_what_is_wrong(
    relation: str, left: list[int], right: list[int], wrong: list[int]
) -> None:
    assert links.OPERATORS[relation](left, right) == wrong
    good = [1] if relation == "<=" else [3] if relation in (">", "outside") else right
    assert links.OPERATORS[relation](good, right) == []


def test_every_operator_of_a_row_is_known() -> None:
    assert {row.relation for row in links.ROWS} == links.OPERATORS.keys()
    with pytest.raises(ValueError, match="values to unpack"):
        links.Link.parse("control.ready version == run: too few terms")


def test_a_path_leads_to_values() -> None:
    units = [{"name": "a", "active": "active"}, {"name": "b", "active": "failed"}]
    evidence = {"units": units, "of": {"id": "@x:y"}}
    assert links.values(evidence, "units[].name") == ["a", "b"]
    assert links.values(evidence, "units[active].name") == ["a"]
    assert links.values(evidence, "units|count") == [2]
    assert links.values(evidence, "of.id|domain") == ["y"]
    assert links.values(evidence, "missing?") == [None]
    with pytest.raises(KeyError):
        links.values(evidence, "missing")
