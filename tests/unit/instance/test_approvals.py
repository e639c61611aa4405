"""Who may look and approve, and what needs approvals, as instance.yaml says it."""

from __future__ import annotations

from typing import get_args

import pytest

from agency.control.commands import GRAMMAR
from agency.control.config import ControlConfig
from agency.control.policy import ApprovalRule, Solo
from agency.instance.documents import control_document
from agency.instance.fields.values import GatedCommand
from agency.instance.load import load_instance
from agency.instance.problems import InstanceError

TEAM = """approvers: ["@carol:agency.example"]
viewers: ["@vera:agency.example"]
approvals:
  rules:
    stops:
      commands: [agents stop]
      agents: [pm]
"""
RULE = "approvals: {rules: {stops: {commands: [agents stop]%s}}}\n"


def test_the_control_plane_is_told(write, good) -> None:
    instance = load_instance(write(good + TEAM)).instance
    policy = ControlConfig.model_validate(control_document(instance)).policy
    assert policy.people.operators == {"@alice:agency.example"}
    assert policy.people.admins == {"@alice:agency.example"}
    assert policy.people.approvers == {"@carol:agency.example"}
    assert policy.people.viewers == {"@vera:agency.example"}
    stops = ApprovalRule("stops", frozenset({"agents stop"}), frozenset({"pm"}), 1)
    assert policy.rules == (stops,)
    assert policy.solo is None


def test_the_only_person_of_an_agency_may_say_so(write, good) -> None:
    text = good + "approvals: {soloDelay: 60, rules: {stops: {commands: [agents stop]}}}\n"
    config = ControlConfig.model_validate(control_document(load_instance(write(text)).instance))
    assert config.policy.solo == Solo(60)


def test_rooms_beside_the_control_room(write, good) -> None:
    text = good + "rooms: {audit: true}\n"
    config = ControlConfig.model_validate(control_document(load_instance(write(text)).instance))
    assert (config.rooms.approvals, config.rooms.audit) == (False, True)


def test_without_any_of_it_nothing_is_told(write, good) -> None:
    told = control_document(load_instance(write(good)).instance)
    assert {"approvers", "viewers", "approvals", "rooms"}.isdisjoint(told)


def test_rules_are_about_the_commands_that_change_something() -> None:
    changing = {spec.name for spec in GRAMMAR.commands if spec.changes}
    assert set(get_args(GatedCommand)) == changing


@pytest.mark.parametrize(
    ("added", "field", "said"),
    [
        (RULE % "", "approvals.rules.stops.quorum", "there are 0; name more operators or app"),
        ("approvers: [\"@carol:agency.example\"]\n" + RULE % ", quorum: 2",
         "approvals.rules.stops.quorum", "there are 1"),
        ("approvers: [\"@carol:agency.example\"]\n" + RULE % ", agents: [pn]",
         "approvals.rules.stops.agents", "there is no agent 'pn'"),
        ("approvers: [\"@alice:agency.example\"]\n", "approvers[0]", "among operators too"),
        ("viewers: [\"@agent-pm:agency.example\"]\n", "viewers[0]", "of the agency itself"),
        ("viewers: [\"@vera:far.example\"]\n", "viewers[0]", "federation is off"),
        ("approvals: {rules: {stops: {commands: [agents list]}}}\n", "commands", "agents stop"),
        ("approvals: {rules: {stops: {commands: []}}}\n", "commands", "at least"),
        ("approvals: {soloDelay: -1}\n", "soloDelay", "0"),
    ],
)  # fmt: skip
def test_what_is_refused_and_where(write, good, added: str, field: str, said: str) -> None:
    with pytest.raises(InstanceError) as caught:
        load_instance(write(good + added))
    found = [f"{problem.field} {problem.message}" for problem in caught.value.problems]
    assert any(field in each and said in each for each in found), found
