"""The table of roles: who may look, change, approve; and which approvals are enough."""

from __future__ import annotations

import pytest

from agency.control.commands import GRAMMAR
from agency.control.policy import (
    Allow,
    ApprovalRule,
    Asked,
    Deny,
    Needs,
    People,
    Policy,
    Role,
    Solo,
    needed,
)

ALICE, BOB, CAROL, VERA = "@alice:x.org", "@bob:x.org", "@carol:x.org", "@vera:x.org"
PEOPLE = People(
    operators=frozenset({ALICE, BOB}),
    approvers=frozenset({CAROL}),
    viewers=frozenset({VERA}),
    admins=frozenset({ALICE}),
)
LOOK, CHANGE = GRAMMAR.by_name["agents list"], GRAMMAR.by_name["agents stop"]
APPROVE = GRAMMAR.by_name["approvals approve"]
STOPS = ApprovalRule("stops", frozenset({"agents stop"}), quorum=2)
OF_PM = ApprovalRule("stops-of-pm", frozenset({"agents stop"}), frozenset({"pm"}), quorum=3)


def verdict(person: str, command: object) -> str:
    decided = Policy(PEOPLE).decide(person, command, "pm")  # type: ignore[arg-type]
    return decided.code if isinstance(decided, Deny) else "allowed"


@pytest.mark.parametrize(
    ("person", "look", "change", "approve"),
    [
        (ALICE, "allowed", "allowed", "allowed"),
        (BOB, "allowed", "allowed", "allowed"),
        (CAROL, "allowed", "not-permitted", "allowed"),
        (VERA, "allowed", "not-permitted", "not-permitted"),
        ("@eve:x.org", "not-an-operator", "not-an-operator", "not-an-operator"),
        ("@agent-pm:x.org", "not-an-operator", "not-an-operator", "not-an-operator"),
        ("@alice:far.org", "not-an-operator", "not-an-operator", "not-an-operator"),
    ],
)
def test_what_each_role_may(person: str, look: str, change: str, approve: str) -> None:
    found = [verdict(person, command) for command in (LOOK, CHANGE, APPROVE)]
    assert found == [look, change, approve]


def test_a_refusal_names_the_role_that_it_takes() -> None:
    refused = Policy(PEOPLE).decide(VERA, CHANGE, "pm")
    assert isinstance(refused, Deny)
    assert refused.message == f"agents stop takes the role operator, and {VERA} is viewer here."


def test_empty_lists_are_nobody() -> None:
    assert isinstance(Policy(People()).decide(ALICE, LOOK, ""), Deny)
    assert People().deciding == frozenset()


def test_every_change_takes_more_than_a_viewer() -> None:
    changing = [spec for spec in GRAMMAR.commands if spec.changes]
    assert changing
    assert Role.VIEWER not in {needed(spec) for spec in changing}


def test_of_several_rules_the_one_that_asks_for_most_applies() -> None:
    policy = Policy(PEOPLE, (STOPS, OF_PM))
    assert policy.rule_for(CHANGE, "pm") == "stops-of-pm"
    assert policy.rule_for(CHANGE, "developer") == "stops"
    assert policy.rule_for(LOOK, "pm") is None
    assert policy.decide(ALICE, CHANGE, "developer") == Needs("stops")
    assert (policy.quorum("stops"), policy.quorum("stops-of-pm")) == (2, 3)


def test_what_nobody_could_approve_is_refused_at_once() -> None:
    """Three would have to approve, and beside who asks there are two."""
    refused = Policy(PEOPLE, (OF_PM,)).decide(ALICE, CHANGE, "pm")
    assert isinstance(refused, Deny)
    assert refused.code == "nobody-to-approve"
    assert isinstance(Policy(PEOPLE, (STOPS,)).decide(ALICE, CHANGE, "pm"), Needs)


@pytest.mark.parametrize(
    ("by", "code"),
    [(ALICE, "own-operation"), (BOB, None), (CAROL, None), (VERA, "not-permitted")],
)
def test_who_may_approve(by: str, code: str | None) -> None:
    asked = Asked(ALICE, "pm", "agents stop", 0)
    decided = Policy(PEOPLE, (STOPS,), Solo(0)).decide_grant(by, asked, now_ms=1, confirmed="pm")
    assert (decided.code if isinstance(decided, Deny) else None) == code


@pytest.mark.parametrize(
    ("after_s", "confirmed", "code"),
    [
        (59, "pm", "too-early"),
        (60, "pm", None),
        (60, None, "not-confirmed"),
        (60, "PM", "not-confirmed"),
        (60, "developer", "not-confirmed"),
    ],
)
def test_the_one_person_of_an_agency_waits_and_confirms(
    after_s: int, confirmed: str | None, code: str | None
) -> None:
    alone = Policy(People(operators=frozenset({ALICE})), (STOPS,), Solo(60))
    asked = Asked(ALICE, "pm", "agents stop", 0)
    decided = alone.decide_grant(ALICE, asked, now_ms=after_s * 1000, confirmed=confirmed)
    assert (decided.code if isinstance(decided, Deny) else None) == code


def test_solo_is_for_one_person_alone() -> None:
    rule = ApprovalRule("stops", frozenset({"agents stop"}))
    alone = Policy(People(operators=frozenset({ALICE})), (rule,), Solo(60))
    assert isinstance(alone.decide(ALICE, CHANGE, "pm"), Needs)
    without = Policy(People(operators=frozenset({ALICE})), (rule,))
    assert isinstance(without.decide(ALICE, CHANGE, "pm"), Deny)
    two = Policy(People(operators=frozenset({ALICE, BOB})), (rule,), Solo(0))
    asked = Asked(ALICE, "pm", "agents stop", 0)
    assert isinstance(two.decide_grant(ALICE, asked, now_ms=9, confirmed="pm"), Deny)


def test_the_machine_asks_and_approves_nothing() -> None:
    policy = Policy(PEOPLE, (STOPS,))
    assert policy.decide("cli:root", CHANGE, "pm") == Needs("stops")
    asked = Asked(ALICE, "pm", "agents stop", 0)
    assert isinstance(policy.decide_grant("cli:root", asked, now_ms=0), Deny)
    assert isinstance(policy.decide("cli:root", LOOK, "pm"), Allow)
