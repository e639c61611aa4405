"""Conditions: noted once, bounded, cleared."""

from __future__ import annotations

import pytest

from agency.clock import Clock
from agency.control.conditions import MAX_CONDITIONS, Code, Conditions


@pytest.fixture
def conditions(clock: Clock) -> Conditions:
    return Conditions(clock)


def test_same_condition_is_new_once(conditions: Conditions) -> None:
    assert conditions.note(Code.AGENT_ABSENT, "pm is banned", subject="@agent-pm:x")
    assert not conditions.note(Code.AGENT_ABSENT, "pm is still banned", subject="@agent-pm:x")
    assert [each.text for each in conditions.present()] == ["pm is still banned"]


def test_blocking_conditions_come_first(conditions: Conditions) -> None:
    conditions.note(Code.AGENT_ABSENT, "a warning")
    conditions.note(Code.ROOM_LOST, "blocked", blocks=True)
    assert [each.blocks for each in conditions.present()] == [True, False]


def test_condition_that_is_over_is_gone(conditions: Conditions) -> None:
    conditions.note(Code.ROOM_LOST, "blocked", blocks=True)
    assert conditions.clear(Code.ROOM_LOST)
    assert not conditions.clear(Code.ROOM_LOST)
    assert conditions.present() == ()


def test_conditions_are_bounded(conditions: Conditions) -> None:
    for number in range(MAX_CONDITIONS + 3):
        conditions.note(Code.OPERATOR_ABSENT, "away", subject=f"@o{number}:x")
    assert len(conditions.present()) == MAX_CONDITIONS
    assert conditions.overflow == 3
