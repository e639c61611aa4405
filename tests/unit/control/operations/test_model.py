"""States, identities and digests of operations."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from agency.control.events import EventKind, IncomingEvent
from agency.control.operation import (
    FINAL,
    MOVES,
    Operation,
    Origin,
    OriginKind,
    State,
    check_move,
    operation_id,
)
from agency.errors import InternalError

ORIGIN = Origin(OriginKind.MATRIX, "$e", 5, "!r:x", "$root")
OPERATION = Operation(
    origin=ORIGIN,
    actor="@a:x",
    action="agents start",
    said="!agency agents start pm",
    target="pm",
    trace="t-1",
    created_ts=6,
    deadline_ts=600_000,
)

# Every step that may be taken; all others are refused.
STEPS = {
    "proposed": "waiting granted done failed refused expired withdrawn",
    "waiting": "granted refused expired withdrawn",
    "granted": "running refused expired failed withdrawn",
    "running": "done failed refused",
}


@pytest.mark.parametrize(("before", "after"), list(product(State, State)))
def test_only_these_steps_are_taken(before: State, after: State) -> None:
    if after in STEPS.get(before, "").split():
        check_move(before, after)
        return
    with pytest.raises(InternalError, match=f"is {before} cannot become {after}"):
        check_move(before, after)


def test_nothing_follows_an_end() -> None:
    assert {state for state, after in MOVES.items() if not after} == FINAL


def test_nothing_runs_twice_nor_unapproved() -> None:
    """Running is reached from granted alone, and granted never from running or an end."""
    assert [state for state, after in MOVES.items() if State.RUNNING in after] == [State.GRANTED]
    assert State.GRANTED not in MOVES[State.RUNNING]


def test_said_twice_it_is_one_operation() -> None:
    assert operation_id(ORIGIN) == operation_id(replace(ORIGIN, ts=9, thread="$other"))
    others = [replace(ORIGIN, id="$f"), replace(ORIGIN, kind=OriginKind.HTTP)]
    assert len({operation_id(each) for each in (ORIGIN, *others)}) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"actor": "@b:x"},
        {"said": "!agency agents start pm --project=x"},
        {"target": "developer"},
        {"rule": "two-people"},
        {"deadline_ts": 600_001},
        {"origin": replace(ORIGIN, id="$f")},
    ],
)
def test_digest_covers_what_an_approval_is_of(change: dict[str, object]) -> None:
    assert replace(OPERATION, **change).digest != OPERATION.digest


@pytest.mark.parametrize(
    "change", [{"state": State.RUNNING}, {"replies": 2}, {"trace": "t-2"}, {"stored": True}]
)
def test_digest_stays_while_the_operation_goes_its_way(change: dict[str, object]) -> None:
    assert replace(OPERATION, **change).digest == OPERATION.digest


@pytest.mark.parametrize(
    ("replaces", "thread", "answered"),
    [(None, None, "$e"), (None, "$root", "$root"), ("$old", None, "$old")],
)
def test_origin_is_kept_with_the_thread_that_it_is_answered_in(
    replaces: str | None, thread: str | None, answered: str
) -> None:
    event = IncomingEvent(
        "$e", "!r:x", "@a:x", 5, EventKind.MESSAGE, "m.text", "x", replaces, thread
    )
    origin = Origin.of_event(event)
    assert origin.thread == answered
    assert Origin.read(origin.kind, origin.record()) == origin
