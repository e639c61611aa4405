"""Tasks of an agent are cancelled, once, and the reply says which."""

from __future__ import annotations

from typing import Literal

import pytest
from desk import Desk
from herd import Farm

from agency.control.runtimes.base import Endpoint
from agency.protocols import TaskReport


def task(state: Literal["cancelling", "cancelled"], number: int = 1) -> TaskReport:
    name = "tests" if number == 1 else f"tests {number}"
    return TaskReport(
        id=f"task-{number}", name=name, state=state, started_at="2026-01-01T00:00:00Z"
    )


@pytest.fixture
async def farm(desk: Desk) -> Farm:
    made = Farm(desk)
    await made.open()
    await made.say("!agency agents start pm")
    made.herd.calls.clear()
    return made


async def test_what_an_agent_is_at_is_cancelled_and_it_goes_on_to_run(farm: Farm) -> None:
    farm.herd.tasks["pm"] = (task("cancelled"),)
    assert await farm.say("!agency agents cancel pm") == "pm cancelled tests (task-1)."
    (call,) = farm.herd.calls
    assert call.startswith("cancel None of pm by t-"), "the trace is the key"
    assert "pm" in farm.herd.running
    assert await farm.say("!agency agents cancel pm --task=task-1") == "pm has no running task."
    assert farm.herd.calls[-1].startswith("cancel task-1 of pm by t-")
    assert [row.get("tasks") for row in await farm.desk.details()][-3::2] == [1, 0], "on record"


async def test_a_task_that_does_not_end_in_time_is_named(farm: Farm) -> None:
    farm.herd.tasks["pm"] = (task("cancelling"),)
    said = await farm.say("!agency agents cancel pm")
    assert said == "pm was told to cancel tests (task-1); not ended in time: task-1."
    assert (await farm.desk.outcomes())[-1][2] == "failed"
    assert (await farm.desk.details())[-1]["late"] == ["task-1"]


async def test_several_tasks_are_named_and_counted(farm: Farm) -> None:
    farm.herd.tasks["pm"] = (task("cancelled", 1), task("cancelled", 2))
    said = await farm.say("!agency agents cancel pm")
    assert said == "pm cancelled tests (task-1), tests 2 (task-2)."
    assert (await farm.desk.details())[-1]["tasks"] == 2
    assert "late" not in (await farm.desk.details())[-1]
    late = (task("cancelling", 1), task("cancelled", 2), task("cancelling", 3))
    farm.herd.tasks["pm"] = late
    assert await farm.say("!agency agents cancel pm") == (
        "pm was told to cancel tests (task-1), tests 2 (task-2), tests 3 (task-3); not ended in "
        "time: task-1, task-3."
    )


async def test_one_that_ended_has_no_task_although_its_address_is_known(farm: Farm) -> None:
    farm.herd.kill("pm")
    known = Endpoint("http://x", "token", "pm")
    farm.herd.endpoint = lambda _name: known  # type: ignore[method-assign]  # not forgotten yet
    assert await farm.say("!agency agents cancel pm") == "pm does not run, so it has no task."
    assert farm.herd.calls == []


async def test_a_wrong_id_of_a_task_is_refused_and_where_to_see_the_right_ones(farm: Farm) -> None:
    said = await farm.say("!agency agents cancel pm --task=../x")
    assert "!agency agents status pm" in said


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("dev", "does not run"),
        ("nobody", "here is no agent nobody"),
        ("pm --task=../x", "is no task's id"),
    ],
)
async def test_refusals(farm: Farm, text: str, why: str) -> None:
    assert why in await farm.say(f"!agency agents cancel {text}")
    assert farm.herd.calls == []
