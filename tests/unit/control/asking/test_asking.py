"""Agents ask, people decide: once, on exactly that call, through every end of either side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from asking import TEAM, TTL_S, Asking
from desk import ALICE, BOB, BOT, ROOM, Desk
from front import CAROL, PEOPLE, VERA
from sqlalchemy import text

from agency.control.ask import State
from agency.control.asking.follower import Place
from agency.control.asking.planning import MOST_AN_HOUR
from agency.control.policy import People, Policy
from agency.control.store import audit
from agency.protocols import PendingApproval


@pytest.fixture
async def asking(desk: Desk, tmp_path: Path) -> Asking:
    made = Asking(desk, Policy(PEOPLE), tmp_path)
    await made.give()
    return made


async def asked(asking: Asking, **more: Any) -> Any:
    """Have pm ask, and the prompt sent."""
    asking.pm.ask(**more)
    await asking.look()
    await asking.sent()
    return (await asking.asks())[-1]


async def test_the_prompt_says_exactly_what_would_be_called(asking: Asking) -> None:
    shown = json.dumps({"text": "x" * 7000, "url": "https://a.example"})
    ask = await asked(asking, shown=shown)
    (message,) = asking.desk.spoken
    body = message.message.content["body"]
    assert f"Approval {ask.id}" in body
    assert "pm asks to call web/post, by the rule post of its Gosuto" in body
    assert f'{ALICE}, {BOB} may decide, until 2027-01-15T08:10:00.000Z: say in this room "' in body
    assert f'"approve {ask.short}" or "deny {ask.short} and the reason"' in body
    assert f"Digest {ask.digest}" in body
    assert body.endswith(shown), "whole, however long it is"
    assert message.message.content["msgtype"] == "m.text", "it notifies people"
    assert len(json.dumps(message.message.content)) < 60_000
    assert await asking.rows() == [("system", "approval asked", "waiting")]


async def test_one_question_has_one_prompt_however_often_it_is_seen(asking: Asking) -> None:
    await asked(asking)
    await asking.look(3)
    asking.start()
    await asking.look(3)
    assert len(asking.desk.spoken) == 1
    asking.pm.ask(tool="web/other")
    await asking.look()
    assert len(asking.desk.spoken) == 2, "another call is asked about, too"


@pytest.mark.parametrize(("key", "state"), [("✅", "approved"), ("❌", "denied")])
async def test_a_reaction_decides(asking: Asking, key: str, state: str) -> None:
    ask = await asked(asking)
    await asking.react(ask, BOB, key)
    assert asking.pm.state(ask.number) == state
    (told,) = asking.pm.told
    assert (told.decided_by, told.digest) == (BOB, ask.digest)
    (after,) = await asking.asks()
    assert (after.state, after.shown) == (State(state), "")
    assert await asking.rows() == [
        ("system", "approval asked", "waiting"),
        (BOB, "approval decided", "accepted"),
        (BOB, "approval ended", "granted" if state == "approved" else "refused"),
    ]
    edit, answer = (each.message.content for each in asking.desk.spoken[1:3])
    first = "Approved" if state == "approved" else "Denied"
    assert edit["m.new_content"]["body"].startswith(f"{first} by {BOB}")
    assert answer["m.relates_to"]["event_id"] == await asking.event_of(ask)
    assert answer["body"].startswith(f"{first} by {BOB}")


async def test_words_decide_and_the_thread_of_the_prompt_is_told(asking: Asking) -> None:
    ask = await asked(asking)
    assert ask.short in await asking.say("!agency approvals list", VERA)
    shown = (await asking.say(f"!agency approvals show {ask.short}", VERA), ask.digest)
    assert shown[1] in shown[0]
    assert '{"text": "hi"}' in shown[0]
    said = await asking.say(f"deny {ask.short} not today", ALICE)
    assert said == "Denied: web/post of pm."
    assert asking.pm.told[0].reason == "not today"
    threads = [
        each.message.content["body"]
        for each in asking.desk.spoken
        if each.message.content.get("m.relates_to", {}).get("event_id") == "$sent1"
    ]
    assert threads == [f"Denied by {ALICE} (not today): pm: web/post."]
    assert await asking.say("!agency approvals list", VERA) == "Nothing waits for an approval."
    assert "waits" in await asking.say(f"approve {ask.short}", BOB), "once"
    assert len(asking.pm.told) == 1


@pytest.mark.parametrize(
    ("by", "why"),
    [
        (CAROL, f"names {ALICE}, {BOB}."),  # an approver whom the Gosuto does not name
        (VERA, "takes the role approver"),
        ("@eve:x.org", "is not an operator"),
        (BOT, ""),
        ("@agent-pm:x.org", ""),
    ],
)
async def test_nobody_else_decides(asking: Asking, by: str, why: str) -> None:
    ask = await asked(asking)
    before = len(asking.desk.spoken)
    said = await asking.say(f"approve {ask.short}", by)
    assert why in said
    if not why:
        assert len(asking.desk.spoken) == before, "one of our own is not even answered"
    await asking.react(ask, by)
    assert asking.pm.told == []
    assert (await asking.asks())[0].state is State.WAITING
    await asking.react(ask, ALICE)
    assert len(asking.pm.told) == 1


async def test_an_agent_decides_on_nothing_even_if_every_list_names_it(
    desk: Desk, tmp_path: Path
) -> None:
    agent = "@agent-pm:x.org"
    people = People(operators=frozenset({ALICE, agent}), admins=frozenset({ALICE}))
    asking = Asking(desk, Policy(people), tmp_path)
    asking.pm.approvers.append(agent)
    await asking.give(approvers=[ALICE, agent])
    ask = await asked(asking)
    assert agent not in asking.desk.spoken[0].message.content["body"]
    await asking.react(ask, agent)
    await asking.say(f"approve {ask.short}", agent)
    assert asking.pm.told == []
    await asking.react(ask, ALICE)
    assert len(asking.pm.told) == 1


async def test_whoever_the_newest_version_names_no_more_does_not_decide(asking: Asking) -> None:
    ask = await asked(asking)
    await asking.give(approvers=[BOB])
    assert "names @bob:x.org." in await asking.say(f"approve {ask.short}", ALICE)
    assert asking.pm.told == []
    await asking.react(ask, BOB)
    assert len(asking.pm.told) == 1


async def test_in_safe_mode_it_may_be_denied_alone(asking: Asking) -> None:
    ask = await asked(asking)
    await asking.say("!agency safe-mode on", BOB)
    assert "safe mode" in await asking.say(f"approve {ask.short}", ALICE)
    assert asking.pm.told == []
    assert "Denied" in await asking.say(f"deny {ask.short} later", ALICE)


@pytest.mark.parametrize("restart", [False, True])
async def test_an_agent_that_is_away_is_told_later_once(asking: Asking, restart: bool) -> None:
    ask = await asked(asking)
    asking.pm.away = True
    assert "is on record, and pm does not take it now" in await asking.say(f"approve {ask.short}")
    assert "decided already: approve" in await asking.say(f"deny {ask.short} no", BOB)
    if restart:
        asking.start()
    await asking.look(2)
    asking.pm.away = False
    asking.pm.crash()
    await asking.look(2)
    assert asking.pm.state(ask.number) == "approved"
    assert len(asking.pm.told) == 1
    assert (await asking.asks())[0].state is State.APPROVED


@pytest.mark.parametrize("crash", [False, True])
async def test_a_lost_answer_is_no_second_decision(asking: Asking, crash: bool) -> None:
    ask = await asked(asking)
    asking.pm.deaf = True
    await asking.react(ask, ALICE)
    assert asking.pm.state(ask.number) == "approved"
    assert (await asking.asks())[0].state is State.DECIDED
    asking.pm.deaf = False
    if crash:
        asking.pm.crash()
    await asking.look()
    assert len(asking.pm.told) == 1
    (after,) = await asking.asks()
    assert after.state is (State.GONE if crash else State.APPROVED)
    said = asking.desk.spoken[-1].message.content["body"]
    assert ("may have been taken" in said) is crash, "what is not known is not claimed"


async def test_an_agent_that_refuses_the_person_has_it_wait_for_another(asking: Asking) -> None:
    ask = await asked(asking)
    asking.pm.approvers.remove(ALICE)
    assert "does not count: pm did not take" in await asking.say(f"approve {ask.short}", ALICE)
    assert (await asking.asks())[0].state is State.WAITING
    await asking.react(ask, BOB)
    assert [each.decided_by for each in asking.pm.told] == [BOB]


@pytest.mark.parametrize("restart", [False, True])
async def test_nobody_decided_in_time(asking: Asking, restart: bool) -> None:
    ask = await asked(asking)
    asking.desk.held.seconds += TTL_S - 1
    await asking.look()
    assert (await asking.asks())[0].state is State.WAITING
    asking.desk.held.seconds += 1
    assert "waits" in await asking.say(f"approve {ask.short}")
    if restart:
        asking.start()
    await asking.look()
    assert (await asking.asks())[0].state is State.EXPIRED
    said = asking.desk.spoken[-1].message.content["body"]
    assert said == "Nobody decided in time, so it is refused: pm: web/post."
    assert asking.pm.told == []


async def test_what_is_asked_no_more_needs_nobody_and_comes_back_with_another_prompt(
    asking: Asking,
) -> None:
    ask = await asked(asking)
    asking.pm.hidden.add(ask.number)
    await asking.look()
    (gone,) = await asking.asks()
    assert gone.state is State.GONE
    assert "needs no decision any more" in asking.desk.spoken[-1].message.content["body"]
    await asking.react(ask)
    assert asking.pm.told == []
    asking.pm.hidden.clear()
    await asking.look()
    await asking.sent()
    (back,) = await asking.asks()
    assert (back.state, back.prompts, back.id) == (State.WAITING, 2, ask.id)
    await asking.react(ask)
    assert asking.pm.told == [], "the old prompt counts no more"
    await asking.react(back)
    assert len(asking.pm.told) == 1


async def test_one_that_flaps_has_three_prompts_at_most(asking: Asking) -> None:
    ask = await asked(asking)
    for _ in range(6):
        asking.pm.hidden.add(ask.number)
        await asking.look()
        asking.pm.hidden.clear()
        await asking.look()
    prompts = [e for e in asking.desk.spoken if e.message.content["msgtype"] == "m.text"]
    assert len(prompts) == 3


async def test_an_agent_that_is_deleted_leaves_nobody_waiting(asking: Asking) -> None:
    await asked(asking)
    del asking.agents.askers["pm"]
    await asking.look()
    assert (await asking.asks())[0].state is State.GONE
    assert "There is no agent pm." in asking.desk.spoken[-1].message.content["body"]


async def test_an_agent_that_is_stopped_may_come_back_within_its_time(asking: Asking) -> None:
    ask = await asked(asking)
    asking.pm.stopped = True
    await asking.look(2)
    assert (await asking.asks())[0].state is State.WAITING
    assert "is on record" in await asking.say(f"approve {ask.short}")
    asking.pm.stopped = False
    await asking.look()
    assert asking.pm.state(ask.number) == "approved"


async def test_another_call_under_the_same_number_is_another_question(asking: Asking) -> None:
    ask = await asked(asking)
    (listed,) = asking.pm.approvals.waiting()
    asking.pm.hidden.clear()
    asking.pm.forged = (listed.model_copy(update={"digest": "f" * 64, "tool": "web/erase"}),)
    asking.agents.pending = only_forged  # type: ignore[method-assign]
    await asking.look()
    await asking.sent()
    found = {each.digest: each.state for each in await asking.asks()}
    assert found == {ask.digest: State.GONE, "f" * 64: State.WAITING}
    await asking.react(ask)
    assert asking.pm.told == [], "a prompt counts for its own digest alone"
    other = next(each for each in await asking.asks() if each.is_open)
    await asking.react(other)
    assert asking.pm.told == [], "the gateway does not take a digest that it did not ask"
    assert asking.pm.state(ask.number) == "pending"


async def only_forged(agent: str, _trace: str) -> tuple[PendingApproval, ...]:
    return FORGED if agent == "pm" else ()


FORGED = (
    PendingApproval(
        id="ask-pm-1",
        tool="web/erase",
        digest="f" * 64,
        rule="post",
        shown="{}",
        asked_at="2027-01-15T08:00:00.000Z",
        expires_at="2027-01-15T08:10:00.000Z",
    ),
)


async def test_a_prompt_that_somebody_else_wrote_is_none(asking: Asking) -> None:
    ask = await asked(asking)
    prompt = asking.desk.spoken[0].message.content["body"]
    await asking.desk.take(asking.desk.event(prompt, event_id="$forged", sender=BOB))
    relation = {"rel_type": "m.annotation", "event_id": "$forged", "key": "✅"}
    await asking.react(ask, ALICE, content={"m.relates_to": relation})
    assert asking.pm.told == []
    await asking.react(ask, ALICE, room_id="!other:x.org")
    assert asking.pm.told == []
    await asking.react(ask, ALICE)
    assert len(asking.pm.told) == 1


async def test_a_server_that_was_cut_off_is_let_back_by_the_same_way(asking: Asking) -> None:
    ask = await asked(asking, tool="web/*", kind="tools", shown="added: erase")
    body = asking.desk.spoken[0].message.content["body"]
    assert "The server web of pm offers other tools than were accepted, and is cut off." in body
    assert body.endswith("What changed:\n\nadded: erase")
    await asking.react(ask)
    assert asking.pm.state(ask.number) == "approved"


async def test_the_room_of_the_gosuto_decides_and_takes_nothing_else(asking: Asking) -> None:
    await asking.give(room=TEAM)
    ask = await asked(asking)
    assert ask.room_id == TEAM
    for words, by in (("!agency agents stop pm", ALICE), (f"approve {ask.short}", "@eve:x.org")):
        before = len(await asking.bodies())
        await asking.say(words, by, room_id=TEAM)
        answered = len(await asking.bodies()) - before
        assert answered == (by == ALICE), "a stranger in a team's room is not answered"
    assert "Only approvals are decided here" in (await asking.bodies())[-1]
    assert asking.desk.calls == []
    asking.start()
    await asking.follower.restore()
    await asking.react(ask, BOB)
    assert asking.pm.state(ask.number) == "approved"
    await asking.look()
    before = len(await asking.bodies())
    await asking.say("!agency approvals list", ALICE, room_id=TEAM)
    assert len(await asking.bodies()) == before, "without a prompt there, it is not listened to"


async def test_without_a_room_nothing_is_lost(asking: Asking) -> None:
    asking.room = None
    asking.pm.ask()
    await asking.look(2)
    assert await asking.asks() == []
    asking.room = Place(ROOM, "this room")
    await asking.look()
    assert len(await asking.asks()) == 1


async def test_without_approvers_the_prompt_says_that_nobody_may(asking: Asking) -> None:
    await asking.give(approvers=["@eve:x.org"])
    await asked(asking)
    body = asking.desk.spoken[0].message.content["body"]
    assert "Nobody may decide: approvals.approvers in the Gosuto of pm names no approver" in body


async def test_an_agent_that_asks_without_end_is_told_of_once(asking: Asking) -> None:
    for number in range(MOST_AN_HOUR + 5):
        asking.pm.ask(shown=f'{{"n": {number}}}')
    await asking.look(3)
    messages = [each.message.content["body"] for each in asking.desk.spoken]
    prompts = [each for each in messages if each.startswith("Approval")]
    assert len(prompts) == MOST_AN_HOUR
    (told,) = [each for each in messages if "asks for more approvals" in each]
    assert "5 wait without a prompt. There are at most 30 an hour for one agent." in told
    asking.agents.askers["dev"].ask()
    await asking.give("dev")
    await asking.look()
    assert len(await asking.asks()) == MOST_AN_HOUR + 1, "another agent's are not held up"


async def test_a_defect_met_by_one_agent_hides_no_other(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    pending = asking.agents.pending

    async def odd(agent: str, trace: str) -> Any:
        if agent == "dev":  # asked before pm
            raise ValueError("Invalid isoformat string")
        return await pending(agent, trace)

    monkeypatch.setattr(asking.agents, "pending", odd)
    asking.agents.askers["dev"].ask()
    asking.pm.ask()
    await asking.look()
    assert [each.agent for each in await asking.asks()] == ["pm"]
    monkeypatch.undo()
    await asking.give("dev")
    await asking.look()
    assert {each.agent for each in await asking.asks()} == {"dev", "pm"}


async def test_the_audit_log_has_the_arguments_as_their_digest_alone(asking: Asking) -> None:
    ask = await asked(asking, shown='{"text": "Kx-argument"}')
    await asking.react(ask)
    rows = await asking.desk.database.read(lambda c: audit.tail(c, 100))
    assert not any("Kx-argument" in row.detail for row in rows)
    about = [json.loads(row.detail) for row in rows if row.action.startswith("approval ")]
    assert [each["digest"] for each in about] == [ask.digest] * 3
    assert {each["tool"] for each in about} == {"web/post"}
    assert {each["rule"] for each in about} == {"post"}


async def test_what_the_homeserver_does_not_take_in_a_teams_room_is_asked_elsewhere(
    asking: Asking,
) -> None:
    await asking.give(room=TEAM)
    asking.pm.ask()
    await asking.look()
    given_up = text("UPDATE outbox SET state = 'failed'")
    await asking.desk.database.write(lambda c: c.execute(given_up))
    await asking.look(3)
    await asking.sent()
    (ask,) = await asking.asks()
    assert (ask.room_id, ask.prompts) == (ROOM, 2)
    assert len(asking.desk.spoken) == 2
    await asking.react(ask)
    assert asking.pm.state(ask.number) == "approved"
