"""Conditions: noted once, bounded, cleared."""

from __future__ import annotations

import pytest

from agency.clock import Clock
from agency.control.conditions import MAX_EACH, MAX_TEXT, Code, Condition, Conditions


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
    for number in range(MAX_EACH + 3):
        conditions.note(Code.OPERATOR_ABSENT, "away", subject=f"@o{number}:x")
    assert len(conditions.present()) == MAX_EACH
    assert conditions.overflow == 3


def test_many_warnings_keep_no_blocking_condition_out(conditions: Conditions) -> None:
    """Many warnings must not make the control plane ready while it is not."""
    for number in range(MAX_EACH):
        conditions.note(Code.POWER_LACKING, "has power", subject=f"@o{number}:x")
    assert conditions.note(Code.ROOM_LOST, "out of the room", blocks=True)
    assert conditions.present()[0].code is Code.ROOM_LOST
    assert not conditions.note(Code.POWER_LACKING, "has power", subject="@o:x"), "still bounded"


def test_warnings_of_one_kind_keep_no_other_kind_out(conditions: Conditions) -> None:
    for number in range(MAX_EACH):
        conditions.note(Code.POWER_LACKING, "has power", subject=f"@o{number}:x")
    assert conditions.note(Code.EVENTS_DROPPED, "dropped")


def test_warning_that_becomes_blocking_is_shown_again(conditions: Conditions) -> None:
    conditions.note(Code.BOT_SILENCED, "muted", subject="@agency:x")
    assert conditions.acknowledge(Code.BOT_SILENCED) == 1
    conditions.note(Code.BOT_SILENCED, "muted", subject="@agency:x", blocks=True)
    assert conditions.present()[0].blocks
    assert not conditions.present()[0].acknowledged


def test_what_was_kept_is_taken_up_also_after_it_was_noted_again(conditions: Conditions) -> None:
    """A transaction may come before the conditions of the last run are read."""
    conditions.note(Code.EVENTS_DROPPED, "dropped")
    conditions.note(Code.BOT_SILENCED, "muted", blocks=True)
    kept = [
        Condition(
            Code.EVENTS_DROPPED, "", "dropped before", "", 5, blocks=False, acknowledged=True
        ),
        Condition(Code.BOT_SILENCED, "", "muted before", "", 5, blocks=False, acknowledged=True),
    ]
    conditions.restore(kept)
    muted, dropped = conditions.present()
    assert (dropped.text, dropped.since_ms, dropped.acknowledged) == ("dropped", 5, True)
    assert muted.blocks
    assert not muted.acknowledged


def test_text_of_a_condition_is_bounded(conditions: Conditions) -> None:
    """Part of it is what somebody else wrote, as the room that a tombstone names."""
    conditions.note(Code.ROOM_REPLACED, "é" * 100_000, hint="h" * 100_000)
    (kept,) = conditions.present()
    assert len(kept.text) == len(kept.hint) == MAX_TEXT
    conditions.note(Code.ROOM_REPLACED, "short")
    assert conditions.present()[0].text == "short"
