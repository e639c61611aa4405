"""The register of an agent's tasks."""

import asyncio

from agency.agent.tasks import TaskRegister
from agency.clock import Clock
from agency.protocols import TaskReport


def register(told: list[TaskReport], **options) -> TaskRegister:
    return TaskRegister(Clock(), told.append, **options)


async def test_ends_are_told_with_their_kind():
    told: list[TaskReport] = []
    tasks = register(told)

    async def fail() -> None:
        raise RuntimeError("inner detail")

    done = tasks.start("done", lambda: asyncio.sleep(0))
    failed = tasks.start("failed", fail)
    await asyncio.sleep(0.01)
    assert tasks.running() == ()
    assert (tasks.find(done).state, tasks.find(failed).state) == ("done", "failed")
    assert [each.state for each in told] == ["running", "running", "failed", "done"]


async def test_a_task_that_does_not_end_is_not_reported_as_cancelled():
    told: list[TaskReport] = []
    tasks, release = register(told, cancel_s=0.05), asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    task = tasks.start("stubborn", stubborn)
    await asyncio.sleep(0)
    asked = [each.state for each in await tasks.cancel(task)]
    running = [each.state for each in tasks.running()]
    release.set()  # before any assertion: it would keep the loop from ending
    assert asked == running == ["cancelling"]
    await asyncio.sleep(0.01)
    assert tasks.find(task).state == "done", "it ended by itself, whatever was asked"


async def test_a_task_cancelled_before_its_first_step_is_cancelled():
    tasks = register([])
    ran: list[int] = []

    async def work() -> None:
        ran.append(1)

    task = tasks.start("never begun", work)
    assert [(each.id, each.state) for each in await tasks.cancel()] == [(task, "cancelled")]
    assert ran == []


async def test_ended_tasks_are_remembered_within_a_bound():
    tasks = register([], most=3)
    ids = []
    for _ in range(5):
        ids.append(tasks.start("short", lambda: asyncio.sleep(0)))
        await asyncio.sleep(0.001)
    assert [tasks.find(each) is not None for each in ids] == [False, False, True, True, True]
