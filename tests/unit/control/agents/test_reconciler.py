"""The reconciler over a real store and operations: it heals, it stops, it says a thing once."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from desk import ALICE, Desk
from herd import Farm
from sqlalchemy import text

from agency.control.conditions import Code
from agency.control.policy import People
from agency.control.runtimes.base import AgentRuntimeError, StartRequest
from agency.control.store import agents, audit
from agency.control.vault.cipher import VaultError
from agency.secrets import SecretValue


@pytest.fixture
async def farm(desk: Desk) -> Farm:
    made = Farm(desk)
    await made.open()
    assert "pm runs" in await made.say("!agency agents start pm --project=app")
    made.herd.calls.clear()
    return made


async def rows(farm: Farm) -> list[tuple[str, str, str, str]]:
    found = await farm.desk.database.read(lambda c: audit.tail(c, 1000))
    return [(row.actor, row.action, row.target, row.outcome) for row in found[1:]]


async def test_an_agent_that_runs_as_wished_is_left_alone(farm: Farm) -> None:
    before = await rows(farm)
    await farm.look(5)
    assert farm.herd.calls == []
    assert await farm.notices() == []
    assert await rows(farm) == before


async def test_a_dead_agent_comes_back_and_the_room_is_told_once(farm: Farm) -> None:
    farm.herd.kill("pm")
    await farm.look(5)
    assert farm.herd.calls == ["start pm"]
    assert await farm.notices() == ["pm died (ended by SIGKILL) and was started again (pid 101)."]
    found = await farm.desk.database.read(lambda c: audit.tail(c, 1000))
    noticed, accepted, done = found[-3:]
    assert [(row.actor, row.action, row.outcome) for row in (noticed, accepted, done)] == [
        ("system", "agents watch", "failed"),
        ("system", "agents respawn", "accepted"),
        ("system", "agents respawn", "done"),
    ]
    assert noticed.trace == accepted.trace == done.trace, "one trace shows it all"
    assert json.loads(noticed.detail) == {
        "seen": "dead",
        "reason": "ended by SIGKILL",
        "wish": "to run, with the project app",
        "before": "100",
    }
    record = await farm.desk.database.read(lambda c: agents.record_of(c, "pm"))
    assert record is not None
    assert (record.project, record.observed, record.handle) == ("app", "running", "101")


async def test_no_secret_that_an_agent_holds_is_told_to_the_room(farm: Farm) -> None:
    farm.held = (SecretValue("Zq77-of-the-vault-of-pm"),)
    farm.herd.kill("pm", "exit status 1: cannot log in with Zq77-of-the-vault-of-pm")
    await farm.look()
    (told,) = await farm.notices()
    assert "cannot log in with" in told
    assert "Zq77" not in told
    rows = await farm.desk.database.read(lambda c: audit.tail(c, 1000))
    assert not any("Zq77" in row.detail for row in rows)


@pytest.mark.parametrize("error", [AgentRuntimeError("no answer"), NotADirectoryError("/x")])
async def test_another_agents_runtime_that_fails_holds_up_none(
    farm: Farm, error: Exception
) -> None:
    assert "dev runs" in await farm.say("!agency agents start dev")
    farm.herd.blind["dev"] = error
    farm.herd.kill("pm")
    await farm.look()
    assert "pm" in farm.herd.running


async def test_attempts_are_spaced_out_and_end_and_a_person_begins_anew(
    desk: Desk, held: Any
) -> None:
    farm = Farm(desk, most=3, first_s=10)
    await farm.open()
    await farm.say("!agency agents start pm")
    farm.herd.calls.clear()
    farm.herd.broken.add("pm")
    farm.herd.kill("pm", "exit status 1")
    times: list[float] = []
    begun = held.seconds
    for _ in range(200):
        before = farm.herd.calls.count("start pm")
        await farm.look(1)
        if farm.herd.calls.count("start pm") > before:
            times.append(held.seconds - begun)
        held.seconds += 1
    assert times == [0, 10, 30], "doubled, and three at most"
    (told,) = await farm.notices()
    assert told.startswith("pm died (exit status 1), and that is not mended yet")
    (failed,) = [each for each in desk.conditions.present() if each.code is Code.AGENT_FAILED]
    assert failed.subject == "pm"
    assert "3 attempts in a row" in failed.text
    assert failed.text == (
        "pm died (exit status 1), and has failed for good: 3 attempts in a row (the last: it did "
        "not start: no port)"
    )
    assert "agents respawn pm" in failed.hint
    farm.herd.broken.clear()
    await farm.look(3)
    assert "pm" not in farm.herd.running, "given up"
    assert "pm runs" in await farm.say("!agency agents respawn pm")
    await farm.look()
    assert not [each for each in desk.conditions.present() if each.code is Code.AGENT_FAILED]
    farm.herd.kill("pm")
    await farm.look()
    assert "pm" in farm.herd.running, "and it has all its attempts again"


async def test_an_agent_that_lasts_has_all_its_attempts_again(desk: Desk, held: Any) -> None:
    farm = Farm(desk, most=2, first_s=1, stable_s=60)
    await farm.open()
    await farm.say("!agency agents start pm")
    for _ in range(5):
        farm.herd.kill("pm")
        await farm.look()
        assert "pm" in farm.herd.running
        held.seconds += 61
        await farm.look()
    for _ in range(3):
        farm.herd.kill("pm")
        await farm.look()
        held.seconds += 30
    assert "pm" not in farm.herd.running, "the test can tell"


async def test_no_attempt_allowed_is_none_made(desk: Desk) -> None:
    farm = Farm(desk, most=0)
    await farm.open()
    await farm.say("!agency agents start pm")
    farm.herd.calls.clear()
    farm.herd.kill("pm")
    await farm.look()
    assert farm.herd.calls == []
    assert [each.code for each in desk.conditions.present()] == [Code.AGENT_FAILED]


@pytest.mark.parametrize("verb", ["stop", "disable"])
async def test_what_is_stopped_or_disabled_stays_so(farm: Farm, verb: str) -> None:
    await farm.say(f"!agency agents {verb} pm")
    farm.herd.calls.clear()
    await farm.look(3)
    assert farm.herd.calls == []
    # Somebody starts it past the control plane.
    await farm.herd.start(StartRequest("pm", "pm", None, "t-else"))
    await farm.look(3)
    assert "pm" not in farm.herd.running
    wish = "to stay disabled" if verb == "disable" else "to be stopped"
    assert await farm.notices() == [f"pm ran although it is not to, and was stopped: pm is {wish}."]


async def test_what_its_runtime_starts_again_is_left_to_it(farm: Farm) -> None:
    farm.herd.recovering.add("pm")
    farm.herd.kill("pm")
    await farm.look(3)
    assert farm.herd.calls == []
    assert await farm.notices() == []
    farm.herd.recovering.clear()
    await farm.look()
    assert farm.herd.calls == ["start pm"], "what the runtime gave up on is healed"


async def test_another_process_is_told_of_once(farm: Farm) -> None:
    farm.herd.replace("pm")
    await farm.look(4)
    assert farm.herd.calls == []
    (told,) = await farm.notices()
    assert told == (
        "pm was restarted, but not by the control plane: its handle was 100, and it runs as "
        "pid 101."
    )
    assert (await rows(farm))[-1] == ("system", "agents watch", "pm", "done")
    farm.herd.replace("pm")
    await farm.look(4)
    assert len(await farm.notices()) == 2, "a change of its own"


async def test_drift_is_healed_by_a_restart(farm: Farm) -> None:
    farm.herd.roles["pm"] = "browser"
    await farm.watch.look()
    farm.herd.roles.clear()
    await farm.settle()
    await farm.look()
    assert farm.herd.calls == ["stop pm", "start pm"]
    assert farm.herd.running["pm"][0].project == "app"
    commands = await farm.desk.database.read(
        lambda c: c.scalars(text("SELECT command FROM operations ORDER BY sequence")).all()
    )
    assert commands[-1] == "!agency agents restart pm --project=app", "with the project on record"
    (told,) = await farm.notices()
    assert told == "pm had drifted (its role is browser, not pm) and was restarted (pid 101)."


async def test_an_agent_that_always_lies_is_restarted_so_often_only(desk: Desk, held: Any) -> None:
    farm = Farm(desk, most=3, first_s=1, stable_s=10_000)
    await farm.open()
    await farm.say("!agency agents start pm")
    farm.herd.calls.clear()
    farm.herd.roles["pm"] = "browser"
    for _ in range(50):
        await farm.look(1)
        held.seconds += 5
    assert farm.herd.calls.count("start pm") == 3
    assert [each.code for each in desk.conditions.present()] == [Code.AGENT_FAILED]


async def test_in_safe_mode_nothing_is_done_and_the_room_is_told_once(farm: Farm) -> None:
    policy = farm.operations.rules.policy
    admins = replace(policy, people=People(frozenset({ALICE}), admins=frozenset({ALICE})))
    farm.operations.rules = replace(farm.operations.rules, policy=admins)
    await farm.say("!agency safe-mode on")
    farm.herd.kill("pm")
    await farm.look(3)
    assert farm.herd.calls == []
    assert await farm.notices() == [
        "pm died (ended by SIGKILL). Safe mode is on, so it is left so."
    ]
    await farm.say("!agency safe-mode off")
    await farm.look(3)
    assert "pm" in farm.herd.running
    assert (await farm.notices())[1:] == ["pm runs again (pid 101)."]


async def test_a_persons_command_is_never_raced(farm: Farm) -> None:
    """It is asked for between the look and the turn of what the reconciler asked for."""
    farm.herd.kill("pm")
    await farm.watch.look()
    await farm.desk.take(farm.desk.event("!agency agents stop pm"))
    await farm.settle()
    await farm.look(3)
    assert "pm" not in farm.herd.running
    record = await farm.desk.database.read(lambda c: agents.record_of(c, "pm"))
    assert record is not None
    assert record.wish.is_down


async def test_an_operation_under_way_is_waited_for(farm: Farm) -> None:
    farm.herd.kill("pm")
    await farm.desk.take(farm.desk.event("!agency agents restart pm"))
    await farm.operations.step()
    assert farm.operations.is_busy("pm")
    await farm.watch.look()
    await farm.desk.finish(farm.operations)
    assert farm.herd.calls == ["stop pm", "start pm"], "the person's, and no other"
    await farm.look(3)
    assert farm.herd.calls == ["stop pm", "start pm"]
    assert await farm.notices() == []


async def test_a_restart_of_the_control_plane_forgets_no_attempt_and_says_nothing_twice(
    desk: Desk, held: Any
) -> None:
    farm = Farm(desk, most=2, first_s=10)
    await farm.open()
    await farm.say("!agency agents start pm")
    farm.herd.calls.clear()
    farm.herd.broken.add("pm")
    farm.herd.kill("pm")
    for _ in range(4):
        await farm.look(2)
        await farm.watch.close()
        await farm.open()
        held.seconds += 1
    assert farm.herd.calls.count("start pm") == 2
    assert [each.code for each in desk.conditions.present()] == [Code.AGENT_FAILED]
    assert len(await farm.notices()) == 1


async def test_an_agent_that_nobody_ever_commanded_is_left_alone(farm: Farm) -> None:
    await farm.herd.start(StartRequest("dev", "dev", None, "t-else"))
    farm.herd.calls.clear()
    await farm.look(3)
    assert farm.herd.calls == []
    assert await farm.notices() == []


async def test_many_changes_are_told_in_one_message(desk: Desk) -> None:
    farm = Farm(desk, tuple(f"a{n:02}" for n in range(40)))
    await farm.open()
    for name in farm.names:
        await farm.say(f"!agency agents start {name}")
    for name in farm.names:
        farm.herd.kill(name)
    await farm.look(4)
    assert len(farm.herd.running) == 40, "32 at one time, then the others"
    notices = await farm.notices()
    assert len(notices) == 2
    assert "more: see !agency agents list" in notices[0]


@pytest.mark.parametrize("looks", [2, 3])
async def test_an_agent_that_runs_and_does_not_answer_is_restarted_after_some_looks(
    farm: Farm, looks: int
) -> None:
    farm.herd.silent.add("pm")
    for _ in range(looks):
        await farm.look(1)
    farm.herd.silent.clear()
    await farm.look(2)
    if looks < 3:
        assert farm.herd.calls == []
        assert await farm.notices() == []
        return
    assert farm.herd.calls == ["stop pm", "start pm"]
    assert farm.herd.running["pm"][0].project == "app"
    assert await farm.notices() == [
        "pm ran and did not answer (no answer within 3 s) and was restarted (pid 101)."
    ]
    assert ("system", "agents watch", "pm", "failed") in await rows(farm)


async def test_an_agent_that_never_answers_is_restarted_so_often_only(
    desk: Desk, held: Any
) -> None:
    farm = Farm(desk, most=3, first_s=1, stable_s=10_000)
    await farm.open()
    await farm.say("!agency agents start pm")
    farm.herd.calls.clear()
    farm.herd.silent.add("pm")
    for _ in range(60):
        await farm.look(1)
        held.seconds += 5
    assert farm.herd.calls.count("start pm") == 3
    (failed,) = desk.conditions.present()
    assert failed.code is Code.AGENT_FAILED
    assert "did not answer" in failed.text


async def test_no_secret_that_a_silent_agent_says_is_told_to_the_room(farm: Farm) -> None:
    farm.held = (SecretValue("Zq77-of-the-vault-of-pm"),)
    farm.herd.silent.add("pm")
    farm.herd.says = "the agent refuses: no login with Zq77-of-the-vault-of-pm"
    await farm.look(3)
    farm.herd.silent.clear()
    await farm.look(2)
    (told,) = await farm.notices()
    assert "no login with" in told
    assert "Zq77" not in told


async def test_a_vault_that_cannot_be_read_keeps_no_agent_dead(farm: Farm) -> None:
    farm.locked = VaultError("the seal is broken")
    farm.herd.kill("pm", "exit status 1: no login with Zq77")
    await farm.look(2)
    assert "pm" in farm.herd.running
    assert "Zq77" not in str(await farm.notices())


async def test_an_agent_is_given_its_document_again_after_each_start(farm: Farm) -> None:
    first = await farm.give("pm", "one")
    await farm.look(2)
    assert farm.herd.document("pm") == first
    second = await farm.give("pm", "two")
    await farm.look(3)
    assert farm.herd.document("pm") == second
    assert farm.herd.calls == ["push pm", "push pm"]
    farm.herd.kill("pm")
    await farm.look(3)
    assert farm.herd.document("pm") == second, "what begins anew holds nothing"
    await farm.say("!agency agents restart pm")
    await farm.look(3)
    assert farm.herd.document("pm") == second
    assert farm.herd.calls.count("push pm") == 4, "each once"
    told = await farm.notices()
    assert told == ["pm died (ended by SIGKILL) and was started again (pid 101)."], "not of it"
    pushed = [row for row in await rows(farm) if row[1] == "gosuto push"]
    assert pushed == [("system", "gosuto push", "pm", each) for each in ("accepted", "done") * 4]
    assert desk_codes(farm) == []


async def test_what_was_pushed_does_not_count_as_an_attempt_to_run_it(
    desk: Desk, held: Any
) -> None:
    farm = Farm(desk, most=2, first_s=1)
    await farm.open()
    await farm.give("pm", "one")
    await farm.say("!agency agents start pm")
    for _ in range(2):
        await farm.look(2)
        farm.herd.kill("pm")
        held.seconds += 10
    await farm.look(3)
    assert farm.herd.document("pm") is not None, "both attempts were there"


@pytest.mark.parametrize("stray", [b"{}", None])
async def test_a_document_that_nobody_gave_it_is_told_of_once(
    farm: Farm, held: Any, stray: bytes | None
) -> None:
    document = await farm.give("pm", "one")
    await farm.look(2)
    held.seconds += 20
    if stray is None:
        del farm.herd.held["pm"]
    else:
        farm.herd.held["pm"] = (farm.herd.running["pm"][1], stray)
    await farm.look(4)
    assert farm.herd.document("pm") == document
    (told,) = await farm.notices()
    assert told.startswith("pm had drifted (it held ")
    assert told.endswith("and was given version 1 again.")
    assert ("system", "agents watch", "pm", "done") in await rows(farm)


async def test_an_agent_that_lies_about_its_document_is_alerted_once(desk: Desk, held: Any) -> None:
    farm = Farm(desk, most=3, first_s=1, stable_s=10_000)
    await farm.open()
    await farm.give("pm", "one")
    await farm.say("!agency agents start pm")
    farm.herd.calls.clear()
    farm.herd.lies["pm"] = b"{}"
    for _ in range(50):
        await farm.look(1)
        held.seconds += 5
        assert desk_codes(farm).count(Code.AGENT_LIES) == 1
    assert farm.herd.calls == ["push pm"] * 3, "so often only"
    assert await farm.notices() == [], "the condition says it"
    # Another process that tells the truth is believed.
    farm.herd.lies.clear()
    await farm.say("!agency agents restart pm")
    await farm.look(3)
    assert desk_codes(farm) == []
    assert farm.herd.document("pm") is not None


async def test_an_agent_that_forgets_its_document_again_and_again_is_given_it_so_often_only(
    desk: Desk, held: Any
) -> None:
    farm = Farm(desk, most=3, first_s=1, stable_s=10_000)
    await farm.open()
    await farm.give("pm", "one")
    await farm.say("!agency agents start pm")
    for _ in range(50):
        farm.herd.held.pop("pm", None)
        await farm.look(1)
        await farm.look(1)
        held.seconds += 20
    assert farm.herd.calls.count("push pm") == 3
    assert len(await farm.notices()) == 1


async def test_an_agent_that_refuses_its_document_is_a_condition_until_it_takes_it(
    desk: Desk, held: Any
) -> None:
    farm = Farm(desk, most=3, first_s=10)
    await farm.open()
    await farm.give("pm", "one")
    farm.herd.refuses.add("pm")
    await farm.say("!agency agents start pm")
    await farm.look(2)
    assert desk_codes(farm) == [Code.GOSUTO_UNDELIVERED]
    (condition,) = desk.conditions.present()
    assert "refuses the document" in condition.text
    farm.herd.refuses.clear()
    await farm.look(2)
    assert farm.herd.document("pm") is None, "not before its time"
    held.seconds += 10
    await farm.look(2)
    assert farm.herd.document("pm") is not None
    assert desk_codes(farm) == []
    farm.herd.refuses.add("pm")
    await farm.give("pm", "two")
    await farm.look(2)
    assert desk_codes(farm) == [Code.GOSUTO_UNDELIVERED], "a newer version is tried at once"
    await farm.say("!agency agents stop pm")
    await farm.look()
    assert desk_codes(farm) == [], "what is stopped lacks nothing"


async def test_in_safe_mode_no_document_is_given(farm: Farm) -> None:
    policy = farm.operations.rules.policy
    admins = replace(policy, people=People(frozenset({ALICE}), admins=frozenset({ALICE})))
    farm.operations.rules = replace(farm.operations.rules, policy=admins)
    await farm.say("!agency safe-mode on")
    document = await farm.give("pm", "one")
    await farm.look(3)
    assert farm.herd.calls == []
    await farm.say("!agency safe-mode off")
    await farm.look(3)
    assert farm.herd.document("pm") == document


def desk_codes(farm: Farm) -> list[Code]:
    return [each.code for each in farm.desk.conditions.present()]
