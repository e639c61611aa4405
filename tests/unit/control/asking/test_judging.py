"""Who may decide on calls of an agent: role and Gosuto, both; and again when the agent is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asking import TTL_S, Asking
from desk import ALICE, BOB, Desk
from front import CAROL, PEOPLE, VERA

from agency.control.acp_client import AcpUnreachableError
from agency.control.ask import State, Verdict
from agency.control.asking.judging import Guide, deciders, judge
from agency.control.policy import People, Policy, SafeMode
from agency.control.store import asks

AGENT, EVE = "@agent-pm:x.org", "@eve:x.org"
SAFE = SafeMode(BOB, 0)
ALL = Guide((ALICE, BOB, CAROL, VERA, EVE, AGENT))


def is_own(who: str) -> bool:
    return who.startswith("@agen")


@pytest.mark.parametrize(
    ("by", "guide", "verdict", "safe", "code"),
    [
        (ALICE, ALL, Verdict.APPROVE, None, None),
        (CAROL, ALL, Verdict.DENY, None, None),
        (CAROL, Guide((ALICE,)), Verdict.APPROVE, None, "not-an-approver"),
        (ALICE, Guide(), Verdict.DENY, None, "not-an-approver"),
        (VERA, ALL, Verdict.APPROVE, None, "not-permitted"),
        (EVE, ALL, Verdict.DENY, None, "not-an-operator"),
        ("cli:root", ALL, Verdict.APPROVE, None, "not-an-operator"),
        ("system", ALL, Verdict.APPROVE, None, "not-an-operator"),
        ("", ALL, Verdict.APPROVE, None, "not-an-operator"),
        (AGENT, ALL, Verdict.APPROVE, None, "agent"),
        (AGENT, ALL, Verdict.DENY, None, "agent"),
        (ALICE, ALL, Verdict.APPROVE, SAFE, "safe-mode"),
        (ALICE, ALL, Verdict.DENY, SAFE, None),
    ],
)
def test_it_takes_role_and_name_and_an_agent_never(
    by: str, guide: Guide, verdict: Verdict, safe: SafeMode | None, code: str | None
) -> None:
    people = replace(PEOPLE, operators=PEOPLE.operators | {AGENT})
    refusal = judge(Policy(people, safe_mode=safe), guide, "pm", by, verdict, is_own)
    assert (None if refusal is None else refusal.code) == code


def test_the_prompt_names_who_may() -> None:
    people = replace(PEOPLE, operators=PEOPLE.operators | {AGENT})
    assert deciders(Policy(people), ALL, is_own) == (ALICE, BOB, CAROL)


@pytest.fixture
async def decided(desk: Desk, tmp_path: Path) -> Asking:
    """A decision of Bob on record, and an agent that does not answer."""
    asking = Asking(desk, Policy(PEOPLE), tmp_path)
    await asking.give()
    asking.pm.ask()
    await asking.look()
    await asking.sent()
    asking.pm.away = True
    await asking.react((await asking.asks())[0], BOB)
    assert (await asking.asks())[0].state is State.DECIDED
    return asking


async def lose_the_name(asking: Asking) -> None:
    await asking.give(approvers=[ALICE])


async def lose_the_role(asking: Asking) -> None:
    people = People(operators=frozenset({ALICE}), viewers=frozenset({BOB}))
    asking.start(Policy(people))


async def begin_safe_mode(asking: Asking) -> None:
    await asking.say("!agency safe-mode on", ALICE)


@pytest.mark.parametrize("change", [lose_the_name, lose_the_role, begin_safe_mode])
async def test_whoever_may_not_any_more_when_the_agent_is_told_has_not_decided(
    decided: Asking, change: Any
) -> None:
    await change(decided)
    decided.pm.away = False
    await decided.look()
    assert decided.pm.told == []
    (ask,) = await decided.asks()
    assert (ask.state, ask.decided_by) == (State.WAITING, "")
    said = decided.desk.spoken[-1].message.content["body"]
    assert said.startswith("This waits for a decision still: pm: web/post.")
    assert (BOB, "approval ended", "failed") in await decided.rows()
    assert "Denied" in await decided.say(f"deny {ask.short} no", ALICE)


async def test_a_decision_that_nobody_answers_ends_with_its_time_and_says_what_is_not_known(
    decided: Asking,
) -> None:
    decided.desk.held.seconds += TTL_S
    await decided.look()
    assert (await decided.asks())[0].state is State.EXPIRED
    said = decided.desk.spoken[-1].message.content["body"]
    assert "approved this, and pm did not say in time that it took it" in said
    assert "may have been taken" in said


async def test_one_that_was_never_sent_is_not_sent_when_it_is_late(decided: Asking) -> None:
    """As after a crash between the record and the first sending."""
    database = decided.desk.database
    (ask,) = await decided.asks()

    def unsend(connection: Any) -> None:
        assert asks._change(connection, ask, replace(ask, tries=0))

    await database.write(unsend)
    decided.pm.away = False
    decided.desk.held.seconds += TTL_S
    decided.pm.approvals._entries["ask-pm-1"].ends_steady += 2 * TTL_S  # the agent's clock is slow
    await decided.look()
    assert decided.pm.told == []
    assert (await decided.asks())[0].state is State.EXPIRED
    assert "may have been" not in decided.desk.spoken[-1].message.content["body"]


async def test_a_decision_before_a_crash_is_sent_after_it(decided: Asking) -> None:
    decided.start()
    decided.pm.away = False
    await decided.look()
    assert [each.decided_by for each in decided.pm.told] == [BOB]


async def test_the_same_decision_said_again_is_no_second_one(decided: Asking) -> None:
    """As the command is after a crash: it runs again."""
    (ask,) = await decided.asks()
    assert "on record" in await decided.say(f"approve {ask.short}", BOB)
    decided.pm.away = False
    assert "Approved" in await decided.say(f"approve {ask.short}", BOB)
    assert len(decided.pm.told) == 1
    assert [row[1] for row in await decided.rows()].count("approval decided") == 1


async def test_an_agent_that_does_not_answer_is_tried_once_in_a_look(decided: Asking) -> None:
    tried: list[str] = []

    async def decide(_agent: str, _trace: str, number: str, *_more: Any) -> None:
        tried.append(number)
        raise AcpUnreachableError("no answer within 3 s")

    decided.agents.decide = decide  # type: ignore[method-assign]
    decided.pm.away = False
    decided.pm.ask(tool="web/other")
    await decided.look()
    other = next(each for each in await decided.asks() if each.state is State.WAITING)
    await decided.say(f"approve {other.short}", ALICE)
    assert len({each.state for each in await decided.asks()} - {State.DECIDED}) == 0
    tried.clear()
    await decided.look()
    assert len(tried) == 1
