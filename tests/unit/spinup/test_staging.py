"""What a throwaway instance gets for the conversation, and what it keeps as it is."""

from __future__ import annotations

from typing import Any

import pytest

from agency.instance.documents import control_document
from agency.instance.model import Instance
from agency.spinup.scenario.staging import INTERVAL_S, colleagues, quorum, stage

ALICE, BOB, CAROL = (f"@{name}:a.example" for name in ("alice", "bob", "carol"))
GATE = {"deletes": {"commands": ["secrets delete"], "quorum": 2}}


def instance(**more: Any) -> Instance:
    facts = {
        "version": 1,
        "name": "sample",
        "domain": "a.example",
        "operators": [ALICE],
        "agents": {"pm": {"role": "pm"}},
        "secrets": {"provider": "ephemeral"},
    }
    return Instance.model_validate(facts | more)


@pytest.mark.parametrize(
    ("more", "approvers", "stand_ins"),
    [
        ({}, ("@approver:a.example",), ("@approver:a.example",)),
        ({"operators": [ALICE, BOB]}, (BOB,), ()),
        ({"approvers": [CAROL]}, (CAROL,), ()),
        ({"operators": [ALICE, BOB], "approvers": [CAROL]}, (BOB,), ()),
        (
            {"viewers": ["@approver:a.example"]},
            ("@approver-2:a.example",),
            ("@approver-2:a.example",),
        ),
        (
            {"operators": [ALICE, BOB], "approvers": [CAROL], "approvals": {"rules": GATE}},
            (BOB, CAROL),
            (),
        ),
    ],
    ids=["alone", "two operators", "an approver", "enough", "the name is taken", "two must"],
)
def test_who_approves(
    more: dict[str, Any], approvers: tuple[str, ...], stand_ins: tuple[str, ...]
) -> None:
    given = instance(**more)
    made = stage(given)
    assert (made.approvers, made.stand_ins) == (approvers, stand_ins)
    staged = made.of(given)
    assert {*approvers} <= {*colleagues(staged)}
    assert stage(staged).approvers == approvers, "what is staged is staged already"
    assert quorum(given) == len(approvers)


def test_the_staged_instance_says_the_same_as_the_staged_document() -> None:
    given = instance()
    document = given.model_dump(mode="json", by_alias=True, exclude_unset=True)
    stage(given).write(document)
    assert Instance.model_validate(document) == stage(given).of(given)
    settings: Any = control_document(stage(given).of(given))
    assert settings["limits"] == {"reconcile_interval_s": INTERVAL_S}
    assert settings["approvers"] == ["@approver:a.example"]


def test_an_instance_that_sets_no_interval_leaves_it_to_the_program() -> None:
    assert "limits" not in control_document(instance())


def test_people_of_other_homeservers_do_not_approve_here() -> None:
    services = {"matrix": {"federation": True}}
    given = instance(operators=[ALICE, "@bob:elsewhere.example"], services=services)
    assert stage(given).approvers == ("@approver:a.example",)


@pytest.mark.parametrize("seconds", [-1, 0, 0.01, 3601, "soon"])
def test_an_interval_that_would_be_none_is_refused(seconds: object) -> None:
    with pytest.raises(ValueError, match="reconcileInterval"):
        instance(reconcileInterval=seconds)
    assert instance(reconcileInterval=0.1).reconcile_interval == 0.1
