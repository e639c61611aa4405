"""Messages of the reconciler: to the room within its limits, the audit log, the store."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from desk import ROOM, Desk
from herd import Farm
from sqlalchemy.exc import OperationalError

from agency.control.agents import kept
from agency.control.agents.reconciler import MOST_AN_HOUR
from agency.control.conditions import Code
from agency.control.runtimes.base import StartRequest
from agency.control.store import agents, audit
from agency.control.store.agents import AgentRecord
from agency.errors import AgencyError
from agency.protocols import NOTICE_KEY


@pytest.fixture
async def farm(desk: Desk) -> Farm:
    made = Farm(desk)
    await made.open()
    assert "pm runs" in await made.say("!agency agents start pm --project=app")
    made.herd.calls.clear()
    return made


async def rows(farm: Farm) -> list[tuple[str, str, str, Mapping[str, Any]]]:
    found = await farm.desk.database.read(lambda c: audit.tail(c, 1000))
    return [(row.action, row.outcome, row.trace, json.loads(row.detail)) for row in found]


async def record(farm: Farm) -> AgentRecord:
    found = await farm.desk.database.read(lambda c: agents.record_of(c, "pm"))
    assert found is not None
    return found


def conditions(farm: Farm) -> list[tuple[Code, str, str, str]]:
    present = farm.desk.conditions.present()
    return [(each.code, each.subject, each.text, each.hint) for each in present]


class Failing:
    """Operations of which nothing can be asked."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def ask(self, *_asked: Any) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (AgencyError("too many commands are under way"), "too many commands are under way"),
        (OperationalError("INSERT", {}, Exception("locked")), "the store does not answer"),
    ],
)
async def test_an_attempt_that_cannot_be_asked_for_is_one_that_failed(
    desk: Desk, error: Exception, said: str
) -> None:
    farm = Farm(desk, most=1)
    await farm.open()
    await farm.say("!agency agents start pm")
    farm.herd.kill("pm", "exit status 1")
    farm.watch.mender.operations = Failing(error)  # type: ignore[assignment]
    await farm.look(2)
    ((code, subject, text, hint),) = conditions(farm)
    assert (code, subject) == (Code.AGENT_FAILED, "pm")
    assert text == (
        f"pm died (exit status 1), and has failed for good: 1 attempt (the last: {said})"
    )
    assert hint == "see !agency agents logs pm, then say !agency agents respawn pm"


async def test_how_an_attempt_failed_is_forgotten_when_one_succeeds(desk: Desk, held: Any) -> None:
    farm = Farm(desk, first_s=1, most=9)
    await farm.open()
    await farm.say("!agency agents start pm")
    farm.herd.broken.add("pm")
    farm.herd.kill("pm", "")
    await farm.look(2)
    (told,) = await farm.notices()
    assert told.startswith(
        "pm died (did not start: no port), and that is not mended yet; now it did"
    )
    farm.herd.broken.clear()
    held.seconds += 10
    await farm.look(2)
    assert "pm" in farm.herd.running
    held.seconds += 10
    farm.herd.kill("pm", "")
    await farm.look(2)
    assert (await farm.notices())[-1].startswith("pm was found stopped and was started again")


async def test_a_document_that_is_refused_is_a_condition_that_says_why_and_what_to_do(
    farm: Farm,
) -> None:
    await farm.give("pm", "one")
    farm.herd.refuses.add("pm")
    await farm.look(2)
    ((code, subject, text, hint),) = conditions(farm)
    assert (code, subject) == (Code.GOSUTO_UNDELIVERED, "pm")
    assert text == "pm was not given the newest version of its Gosuto: It refuses the document"
    assert hint == "it is tried again so often only; now: !agency gosuto push pm"


async def test_a_lie_is_of_one_that_runs(farm: Farm) -> None:
    await farm.give("pm", "one")
    farm.herd.lies["pm"] = b"{}"
    await farm.look(2)
    assert Code.AGENT_LIES in {each[0] for each in conditions(farm)}
    await farm.say("!agency agents stop pm")
    await farm.look(1)
    assert conditions(farm) == []


async def test_conditions_of_others_are_left_to_them(farm: Farm) -> None:
    farm.desk.conditions.note(Code.ROOM_LOST, "gone", subject=ROOM)
    farm.desk.conditions.note(Code.AGENT_ABSENT, "away", subject="@agent-pm:x.org")
    await farm.look(2)
    assert {each[0] for each in conditions(farm)} == {Code.ROOM_LOST, Code.AGENT_ABSENT}


async def test_an_agent_that_is_gone_has_no_condition(farm: Farm) -> None:
    farm.desk.conditions.note(Code.AGENT_FAILED, "pn failed", subject="pn")
    await farm.look(1)
    assert conditions(farm) == []


async def test_the_document_after_a_restart_has_the_trace_of_what_was_mended(farm: Farm) -> None:
    await farm.give("pm", "one")
    farm.herd.kill("pm")
    await farm.look(3)
    assert farm.herd.document("pm") is not None
    by_action = {action: trace for action, _, trace, _ in await rows(farm)}
    assert by_action["gosuto push"] == by_action["agents respawn"] == by_action["agents watch"]


async def test_each_attempt_about_nothing_has_a_trace_of_its_own(farm: Farm) -> None:
    for text in ("one", "two"):
        await farm.give("pm", text)
        await farm.look(2)
    traces = [trace for action, outcome, trace, _ in await rows(farm) if action == "gosuto push"]
    assert len(traces) == 4
    assert len(set(traces)) == 2, "one for accepted and done"


async def test_another_process_is_on_record_with_both_handles(farm: Farm) -> None:
    farm.herd.replace("pm")
    await farm.look(1)
    action, outcome, _, detail = (await rows(farm))[-1]
    assert (action, outcome) == ("agents watch", "done")
    assert detail == {
        "seen": "replaced",
        "reason": "100 before",
        "wish": "to run, with the project app",
        "handle": "101",
        "before": "100",
    }
    seen = await record(farm)
    assert (seen.observed, seen.handle, seen.project) == ("running", "101", "app")


async def test_an_agent_that_is_given_up_is_on_record_as_it_is(desk: Desk, held: Any) -> None:
    farm = Farm(desk, most=0)
    await farm.open()
    await farm.say("!agency agents start pm")
    held.seconds += 5
    farm.herd.kill("pm")
    await farm.look(1)
    seen = await record(farm)
    assert (seen.observed, seen.handle, seen.observed_ts) == ("failed", None, held.seconds * 1000)
    action, outcome, _, detail = (await rows(farm))[-1]
    assert (action, outcome, detail["seen"]) == ("agents watch", "failed", "dead")


async def test_an_old_version_of_its_document_is_told_apart_from_a_strange_one(
    farm: Farm, held: Any
) -> None:
    old = await farm.give("pm", "one")
    await farm.give("pm", "two")
    await farm.look(3)
    held.seconds += 20
    farm.herd.held["pm"] = (farm.herd.running["pm"][1], old)
    await farm.look(3)
    (told,) = await farm.notices()
    assert told.startswith("pm had drifted (it held an old version of its Gosuto, sha256:")
    assert told.endswith("and was given version 2 again.")


async def test_what_is_told_goes_to_programs_and_to_the_sender_too(farm: Farm) -> None:
    farm.herd.kill("pm")
    farm.desk.spoken.clear()
    await farm.look(2)
    (content,) = [each for each in await farm.desk.said() if NOTICE_KEY in each]
    assert content[NOTICE_KEY]["agents"] == ["pm"]
    assert [each.message.room_id for each in farm.desk.spoken] == [ROOM]


@pytest.mark.parametrize(
    ("number", "more"), [(10, ""), (12, "and 2 more: see !agency agents list")]
)
async def test_a_message_has_so_many_lines_only(desk: Desk, number: int, more: str) -> None:
    farm = Farm(desk, tuple(f"a{n:02}" for n in range(number)))
    await farm.open()
    for name in farm.names:
        await farm.say(f"!agency agents start {name}")
    for name in farm.names:
        farm.herd.replace(name)
    await farm.look(1)
    (told,) = await farm.notices()
    lines = told.splitlines()
    assert [line.split()[0] for line in lines[:10]] == [f"a{n:02}" for n in range(10)]
    assert lines[10:] == ([more] if more else [])
    content = (await farm.desk.said())[-1]
    assert content[NOTICE_KEY]["agents"] == [f"a{n:02}" for n in range(10)]


async def test_so_many_messages_an_hour_and_what_changes_meanwhile_is_told_later(
    farm: Farm, held: Any
) -> None:
    for number in range(MOST_AN_HOUR):
        farm.herd.replace("pm")
        await farm.look(1)
        assert len(await farm.notices()) == number + 1
    farm.herd.replace("pm")
    held.seconds += 3599
    await farm.look(2)
    assert len(await farm.notices()) == MOST_AN_HOUR
    held.seconds += 1
    await farm.look(2)
    (told,) = (await farm.notices())[MOST_AN_HOUR:]
    assert "its handle was 112, and it runs as pid 113" in told


async def crowd(farm: Farm, is_crowded: bool) -> None:
    speaker = farm.watch.speaker
    farm.watch.speaker = replace(speaker, max_outbox=1 if is_crowded else 1000)


async def close(farm: Farm, is_closed: bool) -> None:
    speaker = farm.watch.speaker
    farm.watch.speaker = replace(speaker, room_id=lambda: None if is_closed else ROOM)


@pytest.mark.parametrize("hinder", [crowd, close])
async def test_what_cannot_be_told_is_done_and_told_when_it_can_be(farm: Farm, hinder: Any) -> None:
    await hinder(farm, True)
    farm.herd.kill("pm")
    await farm.look(3)
    assert "pm" in farm.herd.running
    assert await farm.notices() == []
    await hinder(farm, False)
    await farm.look(2)
    assert await farm.notices() == ["pm died (ended by SIGKILL) and was started again (pid 101)."]


async def test_agents_as_wished_cost_the_store_no_write(farm: Farm, database_file: Path) -> None:
    await farm.look(2)
    with sqlite3.connect(database_file) as other:

        def version() -> int:
            return int(other.execute("PRAGMA data_version").fetchone()[0])

        before = version()
        await farm.look(5)
        assert version() == before
        farm.herd.kill("pm")
        await farm.look(2)
        mended = version()
        assert mended != before, "the test can tell"
        await farm.look(5)
        assert version() == mended, "nor does one that was mended"
    other.close()


async def test_a_history_is_kept_until_its_agent_has_lasted(farm: Farm, held: Any) -> None:
    farm.herd.kill("pm")
    await farm.look(2)
    assert (await farm.desk.database.read(kept.read))["pm"].tries == 1
    held.seconds += 600
    await farm.look(1)
    assert await farm.desk.database.read(kept.read) == {}


async def test_so_many_are_mended_at_one_time(desk: Desk) -> None:
    farm = Farm(desk, tuple(f"a{n:02}" for n in range(34)))
    await farm.open()
    for name in farm.names:
        await farm.say(f"!agency agents start {name}")
    for name in farm.names:
        farm.herd.kill(name)
    await farm.watch.look()
    assert farm.watch.mender.active == 32
    await farm.watch.look()
    assert farm.watch.mender.active == 32
    await farm.settle()
    await farm.watch.look()
    assert farm.watch.mender.active == 2, "then the others"
    await farm.settle()
    assert len(farm.herd.running) == 34


async def test_the_end_of_what_mends_an_agent_wakes_the_next_look(farm: Farm) -> None:
    farm.herd.kill("pm")
    await farm.watch.look()
    assert not farm.watch.woken.is_set()
    await farm.settle()
    assert farm.watch.woken.is_set()


async def test_when_the_control_plane_ends_what_was_begun_goes_on_without_it(farm: Farm) -> None:
    farm.herd.kill("pm")
    await farm.watch.look()
    while not await farm.desk.unfinished():  # noqa: ASYNC110 - the store wakes nobody
        await asyncio.sleep(0.001)
    assert farm.watch.mender.is_at("pm")
    await farm.watch.close()
    await asyncio.sleep(0)
    assert not farm.watch.mender.is_at("pm")
    await farm.desk.finish(farm.operations)
    assert farm.herd.calls == ["start pm"]


async def test_an_agent_that_left_the_configuration_is_left_alone(farm: Farm) -> None:
    farm.lifecycle.agents = {"dev": farm.inventory["dev"]}
    farm.herd.kill("pm")
    await farm.look(2)
    assert farm.herd.calls == []


async def test_who_is_to_run_is_asked_under_a_trace_of_each_look(farm: Farm) -> None:
    await farm.say("!agency agents start dev")
    await farm.say("!agency agents stop dev")
    await farm.herd.start(StartRequest("dev", "dev", None, "t-else"))
    farm.herd.asked.clear()
    await farm.watch.look()
    await farm.settle()
    await farm.watch.look()
    assert [name for name, _ in farm.herd.asked] == ["pm", "pm"], "the other is stopped unasked"
    traces = {trace for _, trace in farm.herd.asked}
    assert len(traces) == 2
    assert all(trace.startswith("t-w") for trace in traces)


async def test_what_ran_against_its_wish_is_on_record_as_no_failure(farm: Farm) -> None:
    await farm.say("!agency agents stop pm")
    await farm.herd.start(StartRequest("pm", "pm", None, "t-else"))
    await farm.watch.look()
    action, outcome, _, detail = (await rows(farm))[-1]
    assert (action, outcome) == ("agents watch", "done")
    assert detail == {"seen": "unwanted", "wish": "to be stopped", "handle": "101"}
    await farm.settle()


async def test_an_attempt_is_in_the_log_with_its_trace(
    farm: Farm, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "agency.control.agents.mending")
    farm.herd.kill("pm")
    await farm.look(1)
    (logged,) = [each for each in caplog.records if "mend an agent" in each.message]
    (trace,) = {trace for action, _, trace, _ in await rows(farm) if action == "agents respawn"}
    assert vars(logged)["fields"] == {"trace": trace, "agent": "pm", "ok": True}
