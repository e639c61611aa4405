"""A search for secrets counts when it looked everywhere, for all of them, and found nothing."""

from __future__ import annotations

from typing import Any

import pytest

from agency.transcript.rules.v2 import judge
from agency.transcript.rules.v2.model import Predicate

Document = dict[str, Any]


@pytest.mark.parametrize("name", ["secrets.absent", "secrets.left"])
@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("secretsChecked", 0),
        ("filesSearched", 0),
        ("argvSearched", 0),
        ("journalBytes", 0),
        ("findings", 1),
        ("places", ["journal"]),
    ],
)
def test_a_search_that_found_or_left_out_something_does_not_hold(
    part: str, value: object, name: str, evidence: dict[str, Document]
) -> None:
    rule, good = judge.PROBES[name], {"journalBytes": 7, **evidence[name]}
    assert rule.judge(good).ok
    verdict = rule.judge({**good, part: value})
    assert not verdict.ok
    assert part in verdict.reason


def test_a_machine_is_searched_with_its_journal(evidence: dict[str, Document]) -> None:
    whole = evidence["secrets.left"]
    assert not judge.PROBES["secrets.left"].judge({**whole, "journalBytes": None}).ok


def reasons(document: Document) -> str:
    return "\n".join(judge.overall(Predicate.model_validate(document["predicate"]))[1])


def evidence_of(document: Document, name: str) -> Document:
    (found,) = (p["evidence"] for p in document["predicate"]["probes"] if p["name"] == name)
    return dict_of(found)


def dict_of(value: Any) -> Document:
    assert isinstance(value, dict)
    return value


def test_every_agents_token_was_sought(guest_document: Document) -> None:
    agents = len(evidence_of(guest_document, "agents.health")["agents"])
    words = "did not look for every agent's token"
    evidence_of(guest_document, "secrets.absent")["secretsChecked"] = agents + 1
    assert words not in reasons(guest_document)
    evidence_of(guest_document, "secrets.absent")["secretsChecked"] = agents
    assert words in reasons(guest_document)


def test_at_the_end_as_much_was_sought_as_before(guest_document: Document) -> None:
    words = "looked for fewer secrets"
    before = evidence_of(guest_document, "secrets.absent")["secretsChecked"]
    evidence_of(guest_document, "secrets.left")["secretsChecked"] = before
    assert words not in reasons(guest_document)
    evidence_of(guest_document, "secrets.left")["secretsChecked"] = before - 1
    assert words in reasons(guest_document)


@pytest.mark.parametrize("target", ["incus", "ssh"])
def test_a_machine_is_searched_again_at_the_end(
    target: str, guest_document: Document, talked_document: Document
) -> None:
    document = guest_document if target == "incus" else talked_document
    predicate = document["predicate"]
    words = "the mandatory probe secrets.left is missing"
    assert words not in reasons(document)
    predicate["probes"] = [p for p in predicate["probes"] if p["name"] != "secrets.left"]
    assert words in reasons(document)
