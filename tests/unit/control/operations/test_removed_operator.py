"""A removed operator commands nothing any more, also not by what waits already."""

from __future__ import annotations

import json
from typing import Any

import pytest
from desk import ALICE, BOB, Desk, Strict

from agency.control.policy import People, Policy


async def admitted(desk: Desk, text: str) -> Any:
    """Admit a change that does not begin, because the control plane ends."""
    await desk.take(desk.event(text))
    operations = desk.make_operations()
    operations._recorder.is_stopping = lambda: True
    await operations.step()
    await operations.close()
    return operations


@pytest.mark.parametrize("removed", [False, True])
async def test_change_that_waited_does_not_run_after_its_sender_was_removed(
    desk: Desk, removed: bool
) -> None:
    await admitted(desk, "!agency agents stop pm")
    desk.policy = Policy(People(frozenset({BOB} if removed else {ALICE, BOB})))
    await desk.settle()
    assert len(desk.calls) == (not removed)
    if removed:
        assert await desk.outcomes() == [(ALICE, "agents stop", "refused")]
        assert (await desk.details())[0]["code"] == "not-an-operator"
        assert "is not an operator" in json.dumps(await desk.said())
    assert await desk.unfinished() == 0


@pytest.mark.parametrize("removed", [False, True])
async def test_approval_of_a_removed_operator_is_void(desk: Desk, removed: bool) -> None:
    desk.policy = Strict(People(frozenset({ALICE, BOB})))
    operations = await admitted(desk, "!agency agents start pm")
    (waiting,) = operations._approvals.waiting
    await operations._approvals.grant(waiting, BOB)
    desk.policy = Strict(People(frozenset({ALICE} if removed else {ALICE, BOB})))
    await desk.settle()
    assert len(desk.calls) == (not removed)
    if removed:
        assert (await desk.details())[-1]["code"] == "grant-void"
    assert await desk.unfinished() == 0


async def test_change_that_needs_an_approval_by_now_does_not_run_without(desk: Desk) -> None:
    await admitted(desk, "!agency agents start pm")
    desk.policy = Strict(People(frozenset({ALICE, BOB})))
    await desk.settle()
    assert desk.calls == []
    assert (await desk.details())[-1]["code"] == "needs-approval"
    assert await desk.unfinished() == 0
