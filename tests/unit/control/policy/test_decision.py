"""The table of who may command what, and what it needs."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from agency.control.commands import GRAMMAR
from agency.control.policy import SYSTEM, Allow, Asked, Decision, Deny, Needs, People, Policy

ALICE, BOB, EVE = "@alice:x.org", "@bob:far.org", "@eve:x.org"
POLICY = Policy(People(frozenset({ALICE, BOB})))


@dataclass(frozen=True)
class Spec:
    name: str = "agents start"
    permission: str = "agents.start"
    approval: str | None = None
    changes: bool = True
    role: str | None = None


PLAIN, RULED = Spec(), Spec(approval="two-people")

TABLE: list[tuple[str, str, Spec | None, type[Decision]]] = [
    ("an operator, before the text is read", ALICE, None, Allow),
    ("an operator's command", ALICE, PLAIN, Allow),
    ("another operator, of another server", BOB, PLAIN, Allow),
    ("an operator's command that needs an approval", ALICE, RULED, Needs),
    ("the control plane makes true again what was wanted", SYSTEM, PLAIN, Allow),
    ("the control plane needs no approval for it", SYSTEM, RULED, Allow),
    ("a stranger, before the text is read", EVE, None, Deny),
    ("a stranger's command", EVE, PLAIN, Deny),
    ("a stranger's command that needs an approval", EVE, RULED, Deny),
    ("an operator's name at another server", "@alice:far.org", PLAIN, Deny),
    ("an operator's id in capitals", ALICE.upper(), PLAIN, Deny),
    ("a name like the control plane's", "@system:x.org", PLAIN, Deny),
    ("the machine's administrator", "cli:root", PLAIN, Allow),
    ("the machine's administrator needs an approval, too", "cli:root", RULED, Needs),
    ("a name like the administrator's", "@cli:root", PLAIN, Deny),
    ("nobody", "", PLAIN, Deny),
]


@pytest.mark.parametrize(
    ("actor", "command", "decision"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_decision(actor: str, command: Spec | None, decision: type[Decision]) -> None:
    assert isinstance(POLICY.decide(actor, command, "pm"), decision)


def test_denial_has_a_code_and_a_reason() -> None:
    denied = POLICY.decide(EVE, PLAIN, "pm")
    assert denied == Deny("not-an-operator", f"{EVE} is not an operator of this agency.")


def test_need_names_the_rule() -> None:
    assert POLICY.decide(ALICE, RULED, "pm") == Needs("two-people")


def test_without_operators_nobody_may() -> None:
    assert isinstance(Policy(People()).decide(ALICE, None, ""), Deny)


@pytest.mark.parametrize(
    ("by", "code"),
    [
        (BOB, None),
        (ALICE, "own-operation"),
        (EVE, "not-an-operator"),
        ("cli:root", "not-an-operator"),
    ],
)
def test_approval_is_another_operators(by: str, code: str | None) -> None:
    decision = POLICY.decide_grant(by, Asked(ALICE, "pm", "agents start", 0), now_ms=0)
    assert (decision.code if isinstance(decision, Deny) else None) == code


def test_every_command_has_a_permission_of_its_own() -> None:
    assert len({spec.permission for spec in GRAMMAR.commands}) == len(GRAMMAR.commands)
