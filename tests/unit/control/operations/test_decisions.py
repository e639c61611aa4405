"""People decide in the room on what waits: approve, deny, withdraw, by words or by a reaction."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from desk import ALICE, BOB, ROOM, Desk
from front import ASK, Front
from sqlalchemy import text

from agency.control.commands import parse
from agency.control.operations import Origin, OriginKind, State
from agency.control.policy import ApprovalRule, People, Policy, Solo
from agency.control.store import agents
from agency.control.store import operations as stored

CAROL, VERA, EVE = "@carol:x.org", "@vera:x.org", "@eve:x.org"
STOPS = ApprovalRule("stops", frozenset({"agents stop"}))


@pytest.fixture
def front(desk: Desk) -> Front:
    people = People(
        operators=frozenset({ALICE, BOB}),
        approvers=frozenset({CAROL}),
        viewers=frozenset({VERA}),
        admins=frozenset({ALICE}),
    )
    return Front(desk, Policy(people, (STOPS,)))


@pytest.mark.parametrize(
    "words",
    [
        "!agency approvals approve {op}",
        "approve {op}",
        "!approve {op} looks right",
        'approve {op} reason="looks right"',
    ],
)
async def test_another_person_approves_and_it_runs(front: Front, words: str) -> None:
    op = await front.ask()
    await front.say(words.format(op=op), BOB)
    assert front.stops == 1
    bodies = await front.bodies()
    assert f"Approved: {ASK}. It runs when its turn comes." in bodies
    outcomes = [row[0:3:2] for row in await front.desk.outcomes()]
    assert (BOB, "granted") in outcomes
    assert outcomes.index((ALICE, "waiting")) < outcomes.index((BOB, "granted"))
    assert outcomes.index((BOB, "granted")) < outcomes.index((ALICE, "accepted"))


async def test_the_reason_is_on_record(front: Front) -> None:
    op = await front.ask()
    await front.say(f'approve {op} reason="looks right"', BOB)
    assert "looks right" in str(await front.desk.details())


@pytest.mark.parametrize(
    ("by", "said"),
    [
        (ALICE, "person who asked for it"),
        (VERA, "takes the role approver"),
        (EVE, "is not an operator"),
        ("@agent-pm:x.org", None),
    ],
)
async def test_who_may_not_approve(front: Front, by: str, said: str | None) -> None:
    op = await front.ask()
    reply = await front.say(f"approve {op}", by)
    assert front.stops == 0
    assert await front.states() == {State.WAITING: 1}
    if said is None:
        assert reply.startswith(f"Operation {op}"), "an agent is not even answered"
    else:
        assert said in reply


async def test_two_of_a_quorum_and_no_person_counts_twice(front: Front) -> None:
    front.start(replace(front.desk.policy, rules=(replace(STOPS, quorum=2),)))
    op = await front.ask()
    assert "1 more must" in await front.say(f"approve {op}", BOB)
    assert "1 more must" in await front.say(f"approve {op}", BOB)
    assert front.stops == 0
    front.start()  # a restart in between costs no approval
    await front.say(f"approve {op}", CAROL)
    assert front.stops == 1
    granted = [row[0] for row in await front.desk.outcomes() if row[2] == "granted"]
    assert granted == [BOB, CAROL]


async def test_an_approver_who_was_removed_counts_no_more(front: Front) -> None:
    policy = replace(front.desk.policy, rules=(replace(STOPS, quorum=2),))
    front.start(policy)
    op = await front.ask()
    await front.say(f"approve {op}", CAROL)
    front.start(replace(policy, people=replace(policy.people, approvers=frozenset({VERA}))))
    assert "1 more must" in await front.say(f"approve {op}", BOB)
    assert front.stops == 0
    await front.say(f"approve {op}", VERA)
    assert front.stops == 1


async def test_denied_with_a_reason_that_its_thread_is_told(front: Front) -> None:
    op = await front.ask()
    await front.say(f"deny {op} the release is running", BOB)
    bodies = await front.bodies()
    assert f"{BOB} denied this, so it was not run: the release is running" in bodies
    assert f"Denied: {ASK}. Nothing was done." in bodies
    assert front.stops == 0
    assert await front.states() == {}
    assert "waits for an approval" in await front.say(f"approve {op}", BOB), "too late"


async def test_a_denial_needs_a_reason(front: Front) -> None:
    op = await front.ask()
    assert "reason" in await front.say(f"deny {op}", BOB)
    assert await front.states() == {State.WAITING: 1}


@pytest.mark.parametrize(("by", "may"), [(ALICE, True), (BOB, False), (VERA, False)])
async def test_who_may_withdraw(front: Front, by: str, may: bool) -> None:
    op = await front.ask()
    reply = await front.say(f"!agency approvals withdraw {op}", by)
    assert reply.startswith("Withdrawn") is may
    assert (await front.states() == {}) is may
    assert front.stops == 0


async def test_an_admin_withdraws_what_another_asked_for(front: Front) -> None:
    op = await front.ask(BOB)
    assert (await front.say(f"!agency approvals withdraw {op}", ALICE)).startswith("Withdrawn")
    assert (ALICE, "agents stop", "withdrawn") in await front.desk.outcomes(), "who did it"


@pytest.mark.parametrize(("forger", "runs"), [(ALICE, 0), (BOB, 1)])
async def test_a_grant_of_the_person_who_asked_is_void_whoever_wrote_it(
    forger: str, runs: int, front: Front
) -> None:
    """The store is not believed: who may grant is asked again when the operation begins."""
    await front.ask()
    (waiting,) = await front.desk.database.read(stored.unfinished)
    grant = {"op": waiting.id, "by": forger, "digest": waiting.digest}
    columns = "(operation_id, granted_by, digest, granted_ts)"
    for statement in (
        f"INSERT INTO grants {columns} VALUES (:op, :by, :digest, 1)",
        "UPDATE operations SET state = 'granted' WHERE id = :op AND :by <> :digest",
    ):
        await front.desk.database.write(
            lambda connection, each=statement: connection.execute(text(each), grant)
        )
    front.start()
    await front.desk.finish(front.operations)
    assert front.stops == runs
    codes = [detail.get("code") for detail in await front.desk.details()]
    assert ("grant-void" in codes) is not bool(runs)


async def test_what_was_planned_on_another_state_is_planned_again(front: Front) -> None:
    desk = front.desk
    await desk.database.write(lambda c: agents.synchronise(c, ["pm"], 1))
    op = await front.ask()
    await desk.take(desk.event("!agency agents start pm --project=new", sender=BOB))
    await desk.finish(front.operations)
    await front.say(f"approve {op}", BOB)
    assert front.stops == 0
    assert (await desk.details())[-1]["code"] == "grant-void"
    said = (await front.bodies())[-1]
    assert "pm is to run, with the project new by now" in said.replace("Pm", "pm")


def reaction(key: str, to: str, by: str, **changes: Any) -> dict[str, Any]:
    relation = {"rel_type": "m.annotation", "event_id": to, "key": key}
    return {"type": "m.reaction", "sender": by, "content": {"m.relates_to": relation}, **changes}


async def prompt_event(front: Front) -> str:
    """Have the prompt sent; return the id of its event."""
    sequence = front.desk.spoken[-1].sequence
    sent = text("UPDATE outbox SET event_id = '$prompt' WHERE sequence = :which")
    await front.desk.database.write(lambda c: c.execute(sent, {"which": sequence}))
    return "$prompt"


@pytest.mark.parametrize("key", ["✅", "👍", "✔️", "✔"])
async def test_a_reaction_to_the_prompt_approves(front: Front, key: str) -> None:
    await front.ask()
    await front.say("", **reaction(key, await prompt_event(front), BOB))
    assert front.stops == 1
    assert (BOB, "granted") in [row[0:3:2] for row in await front.desk.outcomes()]


@pytest.mark.parametrize("key", ["❌", "👎"])
async def test_a_reaction_to_the_prompt_denies(front: Front, key: str) -> None:
    await front.ask()
    await front.say("", **reaction(key, await prompt_event(front), CAROL))
    assert front.stops == 0
    assert await front.states() == {}
    assert f"reacted with {key}" in str(await front.bodies())


@pytest.mark.parametrize(
    ("by", "key", "to", "changes"),
    [
        (ALICE, "✅", "$prompt", {}),
        (VERA, "✅", "$prompt", {}),
        (EVE, "✅", "$prompt", {}),
        ("@agent-pm:x.org", "✅", "$prompt", {}),
        (BOB, "🎉", "$prompt", {}),
        (BOB, "✅✅", "$prompt", {}),
        (BOB, "✅", "$forged-prompt", {}),
        (BOB, "✅", "$prompt", {"room_id": "!other:x.org"}),
        (BOB, "✅", "$prompt", {"origin_server_ts": 1}),
    ],
)
async def test_other_reactions_decide_nothing(
    front: Front, by: str, key: str, to: str, changes: dict[str, Any]
) -> None:
    await front.ask()
    await prompt_event(front)
    await front.say("", **reaction(key, to, by, **changes))
    assert front.stops == 0
    assert await front.states() == {State.WAITING: 1}


async def test_a_reaction_that_comes_twice_or_late_decides_once(front: Front) -> None:
    await front.ask()
    to = await prompt_event(front)
    event = front.desk.event("", **reaction("✅", to, BOB))
    await front.desk.take(event)
    await front.desk.take(event)
    await front.desk.finish(front.operations)
    await front.say("", **reaction("✅", to, CAROL))
    assert front.stops == 1
    assert [row[0] for row in await front.desk.outcomes() if row[2] == "granted"] == [BOB]


async def test_an_edited_or_deleted_command_is_not_what_was_approved(front: Front) -> None:
    op = await front.ask()
    (event,) = await front.desk.database.read(stored.waiting)
    assert await front.desk.delete(front.operations, event.origin.id, ALICE)
    assert "waits for an approval" in await front.say(f"approve {op}", BOB)
    assert front.stops == 0


async def test_the_one_person_of_an_agency_approves_after_the_delay(front: Front) -> None:
    alone = People(operators=frozenset({ALICE}), admins=frozenset({ALICE}))
    front.start(Policy(alone, (STOPS,), Solo(60)))
    prompt = await front.say(ASK)
    assert "--confirm='pm'" in prompt
    op = prompt.split()[1][:9]
    assert "not before" in await front.say(f"approve {op} --confirm=pm")
    front.desk.held.seconds += 61
    assert "--confirm" in await front.say(f"approve {op}")
    assert front.stops == 0
    await front.say(f"approve {op} --confirm=pm")
    assert front.stops == 1


async def test_what_waits_is_listed_and_shown(front: Front) -> None:
    assert await front.say("!agency approvals list", VERA) == "Nothing waits for an approval."
    op = await front.ask()
    listed = await front.say("!agency approvals list", VERA)
    assert op in listed
    assert "0 of 1" in listed
    shown = await front.say(f"!agency approvals show {op}", VERA)
    (waiting,) = await front.desk.database.read(stored.waiting)
    assert waiting.digest in shown


@pytest.mark.parametrize(
    ("person", "command", "answer"),
    [
        (ALICE, "agents list", f"Yes: {ALICE} may agents list."),
        (ALICE, "agents stop pm", "Yes, once it is approved by one person: the rule stops."),
        (VERA, "agents start pm", "No: agents start takes the role operator"),
        (EVE, "ping", f"No: {EVE} is not an operator"),
    ],
)
async def test_policy_can_and_why_say_what_would_be_decided(
    front: Front, person: str, command: str, answer: str
) -> None:
    for verb in ("can", "why"):
        said = await front.say(f'!agency policy {verb} {person} "{command}"', VERA)
        assert said.startswith(answer)
    assert "roles" in said
    assert "Unknown command" in await front.say(f"!agency policy can {person} agents sell pm")
    assert front.stops == 0, "nothing was done"


async def test_a_word_that_only_begins_like_a_decision_is_no_command(front: Front) -> None:
    await front.ask()
    before = len(await front.bodies())
    for said in ("approve of this plan", "deny everything", "approve", "approved op-abcdef"):
        await front.desk.take(front.desk.event(said, sender=BOB))
    await front.desk.finish(front.operations)
    assert len(await front.bodies()) == before
    assert ROOM == "!control:x.org"


async def test_in_safe_mode_nothing_changes_and_looks_go_on(front: Front) -> None:
    op = await front.ask()
    assert "Safe mode is on" in await front.say("!agency safe-mode on", BOB)
    for by in (ALICE, BOB):
        refused = await front.say("!agency agents start pm", by)
        assert f"{BOB} switched to safe mode" in refused
    await front.say(f"approve {op}", BOB)
    assert front.stops == 0, "what was approved is refused when its turn comes"
    assert [each["code"] for each in await front.desk.details() if "code" in each] == [
        "safe-mode",
        "safe-mode",
        "safe-mode",
    ]
    await front.say("!agency agents list", VERA)
    assert front.desk.calls == [f"agents list by {VERA}"]


@pytest.mark.parametrize(("by", "may"), [(ALICE, True), (BOB, False), (VERA, False), (EVE, False)])
async def test_who_may_leave_safe_mode(front: Front, by: str, may: bool) -> None:
    await front.say("!agency safe-mode on", BOB)
    reply = await front.say("!agency safe-mode off", by)
    assert ("Safe mode is off" in reply) is may
    await front.say("!agency agents start pm")
    assert (front.desk.calls == [f"agents start by {ALICE}"]) is may


async def test_safe_mode_holds_after_a_restart_until_it_is_left(front: Front) -> None:
    await front.say("!agency safe-mode on", BOB)
    for _ in range(2):
        front.start()
        await front.operations.safety.restore()
        assert BOB in await front.say("!agency safe-mode show", VERA)
        assert "switched to safe mode" in await front.say("!agency agents start pm")
    await front.say("!agency safe-mode off", ALICE)
    front.start()
    await front.operations.safety.restore()
    assert await front.say("!agency safe-mode show", VERA) == "Safe mode is off."
    await front.say("!agency agents start pm")
    assert front.desk.calls == [f"agents start by {ALICE}"]


@pytest.mark.parametrize("by", [CAROL, VERA, EVE])
async def test_who_may_not_switch_to_safe_mode(front: Front, by: str) -> None:
    await front.say("!agency safe-mode on", by)
    assert await front.say("!agency safe-mode show", ALICE) == "Safe mode is off."


async def test_what_is_asked_past_the_room_is_put_to_the_people_in_it(front: Front) -> None:
    """Root asks on the machine; nobody in the room would know, and root approves nothing."""
    asking = asyncio.create_task(
        front.operations.ask(
            parse(ASK), Origin(OriginKind.CLI, "c-1", front.desk.clock.now_ms()), "cli:root", "t-c"
        )
    )
    while await front.states() != {State.WAITING: 1}:
        await asyncio.sleep(0.01)
        await front.desk.finish(front.operations)
    (prompt,) = await front.bodies()
    assert "cli:root asks: !agency agents stop pm" in prompt
    await front.say("", **reaction("✅", await prompt_event(front), BOB))
    reply = await asyncio.wait_for(asking, 10)
    assert (reply.ok, reply.text) == (True, "did agents stop")
    assert front.stops == 1
