"""Any sequence of asking, deciding, commanding, waiting and restarting: nothing runs unapproved.

The model knows who approved what, and what pm is to be; the control plane must agree after each
step: a stop runs exactly once, with two approvals of people who did not ask for it, before its
deadline, on the state that it was planned on, and never in safe mode.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from desk import ALICE, BOB, Desk
from front import ASK, Front
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agency.clock import Clock
from agency.control.operations import State
from agency.control.policy import ApprovalRule, People, Policy
from agency.control.store import agents, audit, schema
from agency.store import migrate, open_database

CAROL, VERA, EVE = "@carol:x.org", "@vera:x.org", "@eve:x.org"
EVERYBODY = (ALICE, BOB, CAROL, VERA, EVE)
DECIDE = {ALICE, BOB, CAROL}
QUORUM = 2
WAIT_S = 3600

# Mostly the newest operation, and mostly people who may: else a sequence decides nothing.
which = st.sampled_from([1, 1, 1, 2, 3])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("approve"), st.sampled_from([ALICE, BOB, CAROL]), which),
        st.tuples(st.just("approve"), st.sampled_from([BOB, CAROL]), which),
        st.tuples(st.just("ask"), st.sampled_from([ALICE, BOB])),
        st.tuples(
            st.sampled_from(["approve", "deny", "withdraw"]), st.sampled_from(EVERYBODY), which
        ),
        st.tuples(st.just("command")),
        st.tuples(st.just("wait"), st.sampled_from([1, WAIT_S // 2, WAIT_S])),
        st.tuples(st.just("restart")),
        st.tuples(st.just("safe mode"), st.booleans()),
    ),
    min_size=3,
    max_size=14,
).map(lambda drawn: [("ask", ALICE), *drawn])


@dataclass
class Held:
    """Time that passes when a step says so."""

    seconds: float = 1_800_000_000.0


@dataclass
class Waiting:
    """What the model knows of one operation."""

    id: str
    actor: str
    basis: str
    deadline_s: float
    waits: bool = True
    approved: set[str] = field(default_factory=set)


@dataclass
class Model:
    """What must hold, by the rules alone."""

    wish: str = "none"
    safe: bool = False
    runs: int = 0
    asked: list[Waiting] = field(default_factory=list)

    def expire(self, now_s: float) -> None:
        for each in self.asked:
            each.waits = each.waits and now_s < each.deadline_s

    def approve(self, operation: Waiting, by: str) -> None:
        if not operation.waits or by == operation.actor or by not in DECIDE:
            return
        operation.approved.add(by)
        if len(operation.approved) < QUORUM:
            return
        operation.waits = False
        if operation.basis == self.wish and not self.safe:
            self.runs += 1
            self.wish = "stopped"


async def play(sequence: list[tuple[Any, ...]]) -> None:
    held = Held()
    clock = Clock(wall=lambda: held.seconds, steady=lambda: held.seconds)
    with tempfile.TemporaryDirectory() as place:
        database = open_database(f"sqlite+aiosqlite:///{Path(place) / 'control.db'}")
        try:
            await migrate(database, schema.SCHEMA)
            await database.write(lambda c: audit.open_log(c, "test", clock))
            await database.write(lambda c: agents.synchronise(c, ["pm"], 1))
            people = People(
                operators=frozenset({ALICE, BOB}),
                approvers=frozenset({CAROL}),
                viewers=frozenset({VERA}),
                admins=frozenset({ALICE}),
            )
            rule = ApprovalRule("stops", frozenset({"agents stop"}), quorum=QUORUM)
            front = Front(Desk(database, clock, held), Policy(people, (rule,)))
            await check(front, held, sequence)
        finally:
            await database.close()


async def check(front: Front, held: Held, sequence: list[tuple[Any, ...]]) -> None:
    model = Model()
    for number, step in enumerate(sequence):
        await take(front, held, model, step, number)
        model.expire(held.seconds)
        await front.desk.finish(front.operations)
        assert front.stops == model.runs, step
        waiting = sum(each.waits for each in model.asked)
        assert (await front.states()).get(State.WAITING, 0) == waiting, step
    outcomes = [(row[1], row[2]) for row in await front.desk.outcomes()]
    assert outcomes.count(("agents stop", "accepted")) == model.runs
    assert outcomes.count(("agents stop", "done")) == model.runs


async def take(front: Front, held: Held, model: Model, step: tuple[Any, ...], number: int) -> None:
    """Take a step, and tell the model."""
    match step:
        case ("ask", actor):
            said = await front.say(ASK, actor)
            if not model.safe:
                until = held.seconds + WAIT_S
                model.asked.append(Waiting(said.split()[1][:12], actor, model.wish, until))
        case ("approve" | "deny" | "withdraw" as verb, by, index) if index <= len(model.asked):
            operation = model.asked[-index]
            reason = " because" if verb == "deny" else ""
            await front.say(f"!agency approvals {verb} {operation.id}{reason}", by)
            if verb == "approve":
                model.approve(operation, by)
            elif verb == "deny":
                operation.waits = operation.waits and by not in DECIDE
            else:
                operation.waits = operation.waits and by not in {operation.actor, ALICE}
        case ("command",):
            await front.say(f"!agency agents restart pm --project=p{number}", BOB)
            model.wish = model.wish if model.safe else f"p{number}"
        case ("wait", seconds):
            held.seconds += seconds
        case ("restart",):
            front.start()
            await front.operations.safety.restore()
        case ("safe mode", on):
            await front.say(f"!agency safe-mode {'on' if on else 'off'}", ALICE)
            model.safe = on


YES_BOB, YES_CAROL = ("approve", BOB, 1), ("approve", CAROL, 1)


@example([("ask", ALICE), YES_BOB, ("restart",), YES_CAROL])
@example([("ask", ALICE), YES_BOB, YES_BOB, ("approve", ALICE, 1), YES_CAROL, YES_CAROL])
@example([("ask", ALICE), YES_BOB, ("command",), YES_CAROL])
@example([("ask", ALICE), YES_BOB, ("wait", WAIT_S), YES_CAROL])
@example([("ask", ALICE), YES_BOB, ("safe mode", True), YES_CAROL])
@example([("ask", ALICE), ("ask", BOB), ("approve", CAROL, 2), ("approve", BOB, 2), YES_CAROL])
@example([("ask", ALICE), YES_BOB, ("deny", VERA, 1), ("withdraw", BOB, 1), YES_CAROL])
@given(steps)
@settings(max_examples=30, deadline=None)
def test_nothing_runs_but_what_was_approved_as_it_is(sequence: list[tuple[Any, ...]]) -> None:
    asyncio.run(play(sequence))


@pytest.mark.thorough
@given(steps)
@settings(max_examples=400, deadline=None)
def test_nor_in_many_more_sequences(sequence: list[tuple[Any, ...]]) -> None:
    asyncio.run(play(sequence))
