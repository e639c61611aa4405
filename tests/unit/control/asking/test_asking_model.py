"""Any sequence of asking, deciding, failing, restarting: no call is approved that nobody approved.

The model knows who may decide, and what the first decision was. After each step: the gateway took
at most one decision of each ask, and only that one; one that is approved was approved by somebody
whom role and Gosuto both name, within its time, out of safe mode, by the digest that was shown.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asking import APPROVERS, TTL_S, Asking
from desk import ALICE, BOB, Desk
from front import CAROL, PEOPLE, VERA
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agency.clock import Clock, iso
from agency.control.ask import Ask, State
from agency.control.policy import Policy
from agency.control.store import agents, audit, schema
from agency.protocols import PendingApproval
from agency.store import migrate, open_database

AGENT, EVE = "@agent-pm:x.org", "@eve:x.org"
EVERYBODY = (ALICE, BOB, CAROL, VERA, EVE, AGENT)
which = st.sampled_from([1, 1, 1, 2, 3])
steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["react", "say"]), st.sampled_from(APPROVERS), which),
        st.tuples(st.sampled_from(["react", "say"]), st.sampled_from(EVERYBODY), which),
        st.tuples(st.just("deny"), st.sampled_from(EVERYBODY), which),
        st.tuples(st.just("again"), which),  # an older reaction is delivered again
        st.tuples(st.just("forge"), which),  # somebody else's message that looks like a prompt
        st.tuples(st.just("swap"), which),  # the agent lists another digest under the same id
        st.tuples(st.just("ask")),
        st.tuples(st.just("wait"), st.sampled_from([1, TTL_S // 2, TTL_S])),
        st.tuples(st.just("restart")),
        st.tuples(st.just("crash")),
        st.tuples(st.sampled_from(["away", "deaf", "stopped"]), st.booleans()),
        st.tuples(st.just("hide"), st.booleans(), which),
        st.tuples(st.just("gosuto"), st.sampled_from([[ALICE], [BOB], APPROVERS])),
        st.tuples(st.just("safe mode"), st.booleans()),
        st.tuples(st.just("look")),
    ),
    min_size=3,
    max_size=16,
).map(lambda drawn: [("ask",), ("look",), *drawn])


@dataclass
class Held:
    """Time that passes when a step says so."""

    seconds: float = 1_800_000_000.0


@dataclass
class Model:
    """What people did, and who might."""

    named: list[str] = field(default_factory=lambda: list(APPROVERS))
    safe: bool = False
    approved: set[tuple[str, str]] = field(default_factory=set)  # ask and person, when allowed
    denied: set[tuple[str, str]] = field(default_factory=set)
    events: list[dict[str, Any]] = field(default_factory=list)

    def note(self, verdict: str, ask: Ask, by: str) -> None:
        allowed = by in self.named and by in APPROVERS and not (verdict == "approve" and self.safe)
        if allowed:
            (self.approved if verdict == "approve" else self.denied).add((ask.number, by))


async def play(sequence: list[tuple[Any, ...]]) -> None:
    held = Held()
    clock = Clock(wall=lambda: held.seconds, steady=lambda: held.seconds)
    with tempfile.TemporaryDirectory() as place:
        database = open_database(f"sqlite+aiosqlite:///{Path(place) / 'control.db'}")
        try:
            await migrate(database, schema.SCHEMA)
            await database.write(lambda c: audit.open_log(c, "test", clock))
            await database.write(lambda c: agents.synchronise(c, ["pm", "dev"], 1))
            asking = Asking(Desk(database, clock, held), Policy(PEOPLE), Path(place))
            await asking.give()
            await check(asking, held, sequence)
        finally:
            await database.close()


async def check(asking: Asking, held: Held, sequence: list[tuple[Any, ...]]) -> None:
    model = Model()
    for step in sequence:
        await take(asking, held, model, step)
        await asking.sent()
        await holds(asking, model, step)
    # In the end everything is answered: nobody waits in vain, on either side.
    asking.pm.away = asking.pm.deaf = asking.pm.stopped = False
    await asking.restart()
    await asking.look(2)
    assert not any(each.state is State.DECIDED for each in await asking.asks())
    held.seconds += TTL_S
    await asking.look()
    assert not any(each.is_open for each in await asking.asks())
    await holds(asking, model, ("end",))


async def holds(asking: Asking, model: Model, step: Any) -> None:
    """Compare what the gateway took with what people did."""
    told = asking.pm.told
    found = await asking.asks()
    digests = {each.digest for each in found}
    assert len({each.digest for each in told}) == len(told), (step, "one decision of each ask")
    for each in told:
        assert each.digest in digests, step
        numbers = [ask.number for ask in found if ask.digest == each.digest]
        allowed = model.approved if each.decision == "approve" else model.denied
        assert any((number, each.decided_by) in allowed for number in numbers), (step, each)
    for ask in found:
        if ask.state in (State.APPROVED, State.DENIED):
            (taken,) = [each for each in told if each.digest == ask.digest]
            assert (taken.decision, taken.decided_by) == (ask.decision, ask.decided_by), step
    outcomes = [row[1:] for row in await asking.rows()]
    ended = [outcome for action, outcome in outcomes if action == "approval ended"]
    assert ended.count("granted") == sum(each.state is State.APPROVED for each in found), step


async def take(asking: Asking, held: Held, model: Model, step: tuple[Any, ...]) -> None:
    """Take a step, and tell the model."""
    await decide(asking, model, step)
    await fail(asking, held, step)
    match step:
        case ("ask",):
            asking.pm.ask(shown=f'{{"n": {len(await asking.asks())}, "at": {held.seconds}}}')
        case ("gosuto", named):
            model.named = named
            await asking.give(approvers=named)
        case ("safe mode", present):
            await asking.say(f"!agency safe-mode {'on' if present else 'off'}", ALICE)
            model.safe = present
        case ("look",):
            await asking.look()


async def decide(asking: Asking, model: Model, step: tuple[Any, ...]) -> None:
    """Take a step of a person."""
    found = await asking.asks()
    match step:
        case ("react" | "say" | "deny" as way, by, index) if index <= len(found):
            ask = found[-index]
            model.note("deny" if way == "deny" else "approve", ask, by)
            if way == "react":
                await react(asking, model, ask, by)
            else:
                words = f"deny {ask.id} no" if way == "deny" else f"approve {ask.id}"
                await asking.say(words, by)
        case ("again", index) if index <= len(model.events):
            await asking.desk.take(model.events[-index])
            await asking.desk.finish(asking.operations)
        case ("forge", index) if index <= len(found):
            relation = {"rel_type": "m.annotation", "event_id": "$forged", "key": "✅"}
            await asking.react(found[-index], BOB, content={"m.relates_to": relation})


async def fail(asking: Asking, held: Held, step: tuple[Any, ...]) -> None:
    """Take a step of the agent, the control plane, or time."""
    found, pm = await asking.asks(), asking.pm
    match step:
        case ("swap", index) if index <= len(found):
            pm.forged = (swapped(found[-index], held.seconds),)
        case ("wait", seconds):
            held.seconds += seconds
        case ("restart",):
            await asking.restart()
        case ("crash",):
            pm.crash()
        case ("away" | "deaf" | "stopped" as fault, present):
            setattr(pm, fault, present)
        case ("hide", present, index) if index <= len(found):
            (pm.hidden.add if present else pm.hidden.discard)(found[-index].number)


async def react(asking: Asking, model: Model, ask: Ask, by: str) -> None:
    relation = {"rel_type": "m.annotation", "event_id": await asking.event_of(ask), "key": "✅"}
    event = asking.desk.event("", type="m.reaction", sender=by, room_id=ask.room_id)
    model.events.append({**event, "content": {"m.relates_to": relation}})
    await asking.desk.take(model.events[-1])
    await asking.desk.finish(asking.operations)


def swapped(ask: Ask, now_s: float) -> PendingApproval:
    return PendingApproval(
        id=ask.number,
        tool="web/erase",
        digest="e" * 64,
        shown="{}",
        asked_at=iso(now_s),
        expires_at=iso(now_s + TTL_S),
    )


@settings(max_examples=25, deadline=None)
@example([("ask",), ("look",), ("deaf", True), ("say", ALICE, 1), ("crash",), ("restart",)])
@example([("ask",), ("look",), ("away", True), ("say", ALICE, 1), ("gosuto", [BOB]), ("look",)])
@example([("ask",), ("look",), ("away", True), ("say", BOB, 1), ("wait", TTL_S), ("look",)])
@example([("ask",), ("look",), ("safe mode", True), ("restart",), ("react", ALICE, 1)])
@example([("ask",), ("look",), ("swap", 1), ("look",), ("react", ALICE, 1), ("again", 1)])
@given(steps)
def test_no_sequence_has_a_call_approved_that_nobody_approved(
    sequence: list[tuple[Any, ...]],
) -> None:
    asyncio.run(play(sequence))
