"""The bridge at work on a FAKE forge: its tasks, their pace, and faults that last."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest
from fake_forge import START, sha

from agency.clock import Clock
from agency.forge import ForgeError, ForgeUnreachableError
from agency.recipes.bridge import service
from agency.recipes.bridge.pacing import LONGEST_S, Backoff, Bucket, Quiet
from agency.recipes.bridge.service import Bridge

PROJECTS = ("team/wiki", "team/slow", "team/bad")
BOOM = ForgeError("HTTP 500", where="x", status=500)


@contextlib.asynccontextmanager
async def working(bridge: Bridge) -> AsyncIterator[None]:
    task = asyncio.create_task(bridge.run())
    try:
        yield
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def until(check, seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not await check():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.01)


@pytest.fixture
def busy(bench, monkeypatch):
    """The bench with three projects, short waits and the machine's steady clock."""
    monkeypatch.setattr(service, "TELL_POLL_S", 0.05)
    monkeypatch.setattr(service, "_HOOK_GAP_S", 0.0)
    bench.projects, bench.poll_s = PROJECTS, 0.05
    for project in PROJECTS:
        bench.forge.open(project)
    bench.clock = Clock(wall=lambda: 0.0, steady=time.monotonic)
    return bench


async def first_looks(bench, bridge) -> None:
    async def looked():
        return bridge.numbers.looks["done"] >= 1

    await until(looked)
    bench.forge.time_s += 60


@pytest.mark.parametrize("trouble", ["slow", "500", "garbage", "silent"])
async def test_one_project_in_trouble_blocks_no_other(busy, trouble):
    held = asyncio.Event()
    real = busy.forge.comments_since

    async def comments_since(project, since):
        if project == "team/slow" and trouble == "slow":
            await held.wait()
        if project == "team/bad":
            if trouble == "500":
                raise ForgeError("HTTP 500", where="x", status=500)
            if trouble == "garbage":
                raise AttributeError("no such field")
            if trouble == "silent":
                raise ForgeUnreachableError("silent", where="x")
        return await real(project, since)

    busy.forge.comments_since = comments_since
    bridge = busy.bridge(busy.clock)
    async with working(bridge):
        await first_looks(busy, bridge)
        busy.forge.say("!testme")

        async def answered():
            return "is queued" in "".join(busy.forge.answers())

        await until(answered)
    assert [run.order.project for run in await busy.all_runs()] == ["team/wiki"]


async def test_telling_one_project_that_hangs_blocks_no_other(busy):
    held = asyncio.Event()
    real = busy.forge.comment

    async def comment(project, number, text):
        if project == "team/slow":
            await held.wait()
        return await real(project, number, text)

    busy.forge.comment = comment
    bridge = busy.bridge(busy.clock)
    async with working(bridge):
        await first_looks(busy, bridge)
        busy.forge.say("!testme", project="team/slow")
        await until(lambda: asyncio.sleep(0, busy.forge.calls["react"]))
        busy.forge.say("!testme")

        async def answered():
            return bool(busy.forge.answers())

        await until(answered)


async def test_a_hook_wakes_the_look_at_once(busy):
    busy.poll_s = 60.0
    bridge = busy.bridge(busy.clock)
    async with working(bridge):
        await first_looks(busy, bridge)
        busy.forge.say("!testme")
        await asyncio.sleep(0.2)
        assert await busy.all_runs() == []
        bridge.wake["team/wiki"].set()

        async def ordered():
            return len(await busy.all_runs()) == 1

        await until(ordered, 3.0)


async def test_one_answer_that_fails_for_ever_holds_up_no_other(watched):
    """Such as the status of a commit that is gone, at which Gitea answers 500."""
    forge = watched.forge
    forge.open(number=8, head_sha=sha("b"))
    forge.say("!testme", number=7)
    forge.say("!testme", number=8)
    await watched.look()
    first, second = await watched.all_runs()
    bridge, real = watched.bridge(), forge.set_status
    asked = 0

    async def set_status(project, commit, status):
        nonlocal asked
        if commit == first.order.commit:
            asked += 1
            raise ForgeError("HTTP 500", where="POST statuses", status=500)
        await real(project, commit, status)

    async def rounds(number):
        for _ in range(number):
            runs = await watched.runs.untold()
            await bridge._tell("team/wiki", list(await bridge.teller.memory.unsent(())), list(runs))
            watched.pass_time(300)

    forge.set_status = set_status
    await rounds(1)
    assert [second.id in text for text in forge.answers()] == [False, True]
    assert [run.id for run in await watched.runs.untold()] == [first.id]
    forge.fault = lambda call, _: BOOM if call == "project" else None
    await rounds(30)
    assert [run.id for run in await watched.runs.untold()] == [first.id], "the forge is ill"
    forge.fault = lambda *_: None
    await rounds(1)
    assert await watched.runs.untold() == (), "it answers otherwise, and this was tried for long"
    before = asked
    await watched.runs.take(1)
    await rounds(1)
    assert asked == before + 1, "the next state of the run is tried anew"


async def test_replayed_hooks_do_not_hammer_the_forge(busy, monkeypatch):
    monkeypatch.setattr(service, "_HOOK_GAP_S", 0.2)
    busy.poll_s = 60.0
    bridge = busy.bridge(busy.clock)
    async with working(bridge):
        await first_looks(busy, bridge)
        busy.forge.calls.clear()
        begun = time.monotonic()
        async with asyncio.timeout(10):
            while busy.forge.calls["comments_since"] < 5:
                bridge.wake["team/wiki"].set()
                await asyncio.sleep(0.005)
        assert time.monotonic() - begun >= 3 * 0.2, "five looks, and what lies between them"


async def test_a_forge_that_is_down_for_long_loses_and_doubles_nothing(busy):
    bridge = busy.bridge(busy.clock)
    async with working(bridge):
        await first_looks(busy, bridge)
        faults = [
            ForgeUnreachableError("silent", where="x"),
            ForgeError("HTTP 500", where="x", status=500),
            ForgeError("HTTP 200 without JSON", where="x", status=200),
            ForgeError("HTTP 429", where="x", status=429, after_s=0.1),
        ]
        for project in PROJECTS:
            busy.forge.say("!testme", project=project)
        calls = iter(range(10**6))
        busy.forge.fault = lambda *_: faults[next(calls) % len(faults)]
        await asyncio.sleep(1.0)
        assert next(calls) < 60, "it backs off"
        assert await busy.all_runs() == []
        busy.forge.time_s += 600
        busy.forge.fault = lambda *_: None
        for event in bridge.wake.values():
            event.set()

        async def answered():
            return all(len(busy.forge.answers(project)) == 1 for project in PROJECTS)

        await until(answered)
        await asyncio.sleep(0.3)
    assert len(await busy.all_runs()) == 3
    assert [len(busy.forge.answers(project)) for project in PROJECTS] == [1, 1, 1]
    assert busy.forge.time_s > START


async def test_waits_for_a_silent_forge_grow(busy):
    busy.poll_s = 0.02
    bridge = busy.bridge(busy.clock)
    busy.forge.fault = lambda *_: ForgeUnreachableError("silent", where="x")
    async with working(bridge):
        await asyncio.sleep(1.0)
        assert len(PROJECTS) <= bridge.numbers.looks["failed"] <= 8 * len(PROJECTS)


async def test_a_forge_that_wants_quiet_has_it_from_all(busy):
    bridge = busy.bridge(busy.clock)
    async with working(bridge):
        await first_looks(busy, bridge)
        limited = ForgeError("HTTP 429", where="x", status=429, after_s=0.6)
        busy.forge.fault = lambda *_: limited
        await until(lambda: asyncio.sleep(0, bridge.numbers.looks["failed"] >= 1))
        busy.forge.fault = lambda *_: None
        busy.forge.calls.clear()
        await asyncio.sleep(0.4)
        assert busy.forge.calls["comments_since"] <= 2, "those that had begun"
        await until(lambda: asyncio.sleep(0, busy.forge.calls["comments_since"] > 3), 3.0)


def test_waits_grow_to_a_bound_and_end_with_a_success():
    now = 0.0
    backoff = Backoff(20.0, lambda: now, lambda: 0.5)
    assert [backoff.failed() for _ in range(6)] == [20, 40, 80, 160, 300, 300]
    assert backoff.waits
    backoff.succeeded()
    assert not backoff.waits
    assert backoff.failed() == 20
    assert max(Backoff(20.0, lambda: now, lambda: 1.0, failures=9).failed(), 0) <= LONGEST_S * 1.1


def test_quiet_is_bounded_and_not_shortened():
    now = 0.0
    quiet = Quiet(lambda: now)
    quiet.ask(None)
    assert quiet.left_s == 0
    quiet.ask(600)
    quiet.ask(1)
    assert quiet.left_s == 600
    quiet.ask(10**9)
    assert quiet.left_s == 3600


def test_a_bucket_refills():
    now = 0.0
    bucket = Bucket(10.0, 3.0, lambda: now)
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    now = 0.1
    assert [bucket.take(), bucket.take()] == [True, False]
