"""Edges of approvals that mutants of it survived: each was a change that no test noticed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from desk import ALICE, BOB, Desk
from front import CAROL, PEOPLE, STOPS, VERA, Front
from sqlalchemy import text

from agency.control.execution.result import RefusalError
from agency.control.operations.approving.asking import queued_prompts
from agency.control.policy import Allow, Asked, Deny, People, Policy, Solo
from agency.control.store import operations as stored

EVE = "@eve:x.org"


@pytest.fixture
def front(desk: Desk) -> Front:
    return Front(desk, Policy(PEOPLE, (STOPS,)))


@pytest.mark.parametrize(("by", "may"), [(ALICE, True), (CAROL, True), (VERA, False), (EVE, False)])
async def test_who_may_deny_past_the_room(front: Front, by: str, may: bool) -> None:
    """The command asks for the role; whoever calls this by another way is judged here."""
    op = await front.ask()
    if may:
        assert (await front.operations.decisions.deny(op, by, "no")).id.startswith(op)
        return
    with pytest.raises(RefusalError, match=f"{by} may not deny: that takes an approver") as told:
        await front.operations.decisions.deny(op, by, "no")
    assert told.value.where == "not-permitted"
    assert [each.id[:9] for each in front.operations.decisions.waiting] == [op]


async def test_the_refusal_says_its_reason_and_its_code(front: Front) -> None:
    op = await front.ask()
    for by, code, said in (
        (ALICE, "own-operation", "cannot be approved by the person who asked for it."),
        (VERA, "not-permitted", "may not approve: that takes an approver."),
        (EVE, "not-an-operator", "is not an operator of this agency."),
    ):
        with pytest.raises(RefusalError) as told:
            await front.operations.grant(op, by)
        assert told.value.message.endswith(said)
        assert told.value.where == code


async def test_an_id_that_several_begin_with_names_none(front: Front) -> None:
    await front.ask()
    await front.ask()
    with pytest.raises(RefusalError, match=r"2 operations begin with op-") as told:
        await front.operations.grant("op-", BOB)
    assert told.value.hint == "give more of the id"
    assert front.stops == 0


async def test_one_that_was_decided_says_so(front: Front) -> None:
    op = await front.ask()
    await front.say(f"approve {op}", BOB)
    with pytest.raises(RefusalError, match=f"no operation {op} waits for an approval") as told:
        await front.operations.grant(op, BOB)
    assert told.value.hint == "it was decided on already, or its deadline has passed"


async def test_the_next_deadline(front: Front) -> None:
    approvals = front.operations._approvals
    assert approvals.next_s() is None
    await front.ask()
    assert approvals.next_s() == pytest.approx(3600.0)
    front.desk.held.seconds += 3599.5
    assert approvals.next_s() == pytest.approx(0.5)
    front.desk.held.seconds += 100
    assert approvals.next_s() == 0


async def test_prompts_that_were_queued_are_found_again_until_they_are_sent(front: Front) -> None:
    """A server that was lost during a commit may have taken it: the prompt must still be sent."""
    await front.ask()
    (operation,) = await front.desk.database.read(stored.waiting)

    async def found() -> list[Any]:
        return await front.desk.database.read(lambda c: queued_prompts(c, operation))

    assert [each.sequence for each in await found()] == [front.desk.spoken[-1].sequence]
    sent = text("UPDATE outbox SET state = 'sent'")
    await front.desk.database.write(lambda c: c.execute(sent))
    assert await found() == []


@pytest.mark.parametrize(
    ("target", "confirmed", "code"),
    [
        ("pm", "pm", None),
        ("pm", "agents stop", "not-confirmed"),
        ("", "agents stop", None),
        ("", "", "not-confirmed"),
        ("", None, "not-confirmed"),
    ],
)
def test_the_one_person_types_the_target_or_else_the_action(
    target: str, confirmed: str | None, code: str | None
) -> None:
    alone = Policy(
        People(operators=frozenset({ALICE}), admins=frozenset({ALICE})), (STOPS,), Solo(60)
    )
    asked = Asked(ALICE, target, "agents stop", 0)
    decided = alone.decide_grant(ALICE, asked, now_ms=60_000, confirmed=confirmed)
    assert isinstance(decided, Allow) is (code is None)
    if isinstance(decided, Deny):
        assert decided.code == code
    early = alone.decide_grant(ALICE, asked, now_ms=59_000, confirmed=confirmed)
    assert isinstance(early, Deny)
    assert (early.code, early.message) == ("too-early", "It may be approved in 1 s, not before.")


async def test_too_few_people_is_said_with_what_mends_it(front: Front) -> None:
    front.start(Policy(PEOPLE, (replace(STOPS, quorum=3),)))
    assert await front.say("!agency agents stop pm") == (
        "This needs the approval of 3 people beside who asks, by the rule stops, and there are "
        "not so many who may give it. Name more operators or approvers in instance.yaml, or set "
        "approvals.solo."
    )


async def test_in_safe_mode_the_way_out_is_said(front: Front) -> None:
    await front.say("!agency safe-mode on", BOB)
    refused = await front.say("!agency agents start pm")
    assert refused.endswith("says !agency safe-mode off.")


async def test_the_roles_of_who_is_refused_are_named(front: Front) -> None:
    refused = await front.say("!agency safe-mode off", BOB)
    assert "takes the role admin, and @bob:x.org is " in refused
    assert " and " in refused.split(" is ")[1]
    assert "XX" not in refused
