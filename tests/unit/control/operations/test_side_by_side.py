"""Looks never wait for changes, nor the changes of one agent for those of another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from agency.control.execution.result import Invocation, Result
from agency.control.operations import State
from agency.control.policy import Allow, Policy

WAIT_S = 20


class Held:
    """A handler that is at work until it is let go, for the agents that are named."""

    def __init__(self, desk: Any, command: str) -> None:
        self.began: list[str] = []
        self.gate = asyncio.Event()
        desk.handlers[command] = self.handle

    async def handle(self, invocation: Invocation) -> Result:
        name = invocation.command.text("agent") or ""
        self.began.append(name)
        if name == "slow":
            await self.gate.wait()
        return Result(f"did {name}")


@asynccontextmanager
async def running(desk: Any) -> AsyncIterator[Any]:
    operations = desk.make_operations()
    task = asyncio.create_task(operations.run())
    try:
        yield operations
    finally:
        operations.stop()
        operations.abandon()
        await asyncio.wait_for(task, WAIT_S)


async def until(look: Any) -> None:
    async with asyncio.timeout(WAIT_S):
        while not await look():  # noqa: ASYNC110 - the store tells nobody
            await asyncio.sleep(0.005)


def answered(desk: Any, *bodies: str) -> Any:
    async def look() -> bool:
        return {*bodies} <= {content["body"] for content in await desk.said()}

    return look


async def test_look_is_answered_while_a_change_of_the_same_sender_is_under_way(desk: Any) -> None:
    held = Held(desk, "agents start")
    async with running(desk):
        await desk.take(desk.event("!start-agent slow"), desk.event("!agency ping"))
        await until(answered(desk, "did ping"))
        await until(answered_states(desk, {State.RUNNING: 1}))
        held.gate.set()
        await until(answered(desk, "did slow"))
        assert held.began == ["slow"]


async def test_change_of_another_target_does_not_wait(desk: Any) -> None:
    held = Held(desk, "agents start")
    async with running(desk):
        await desk.take(desk.event("!start-agent slow"), desk.event("!start-agent pm"))
        await until(answered(desk, "did pm"))
        held.gate.set()
        await until(answered(desk, "did slow"))


async def test_changes_of_one_target_keep_the_order_of_the_room(desk: Any) -> None:
    held = Held(desk, "agents start")
    async with running(desk):
        said = ("!start-agent slow", "!stop-agent slow", "!restart-agent slow")
        await desk.take(*(desk.event(text) for text in said))
        await until(answered_states(desk, {State.RUNNING: 1, State.GRANTED: 2}))
        assert desk.calls == [], "what is behind it has not begun"
        held.gate.set()
        await until(answered(desk, "did agents restart"))
    assert [call.split(" by")[0] for call in desk.calls] == ["agents stop", "agents restart"]
    assert [row[1] for row in await desk.outcomes()] == [
        name for name in ("agents start", "agents stop", "agents restart") for _ in range(2)
    ]


def answered_states(desk: Any, wanted: dict[State, int]) -> Any:
    async def look() -> bool:
        return bool(await desk.states() == wanted)

    return look


async def test_command_to_a_full_queue_is_refused_and_audited(desk: Any) -> None:
    desk.max_target_queue = 1
    held = Held(desk, "agents start")
    async with running(desk):
        await desk.take(desk.event("!start-agent slow"))
        await until(answered_states(desk, {State.RUNNING: 1}))
        await desk.take(*(desk.event("!start-agent slow") for _ in range(2)))
        await until(answered_refusal(desk))
        (refused,) = await desk.said()
        assert refused["org.agency.reply"]["ok"] is False, refused["body"]
        assert refused["body"].startswith("Too many changes of slow wait already; nothing was done")
        assert (await desk.details())[-1]["code"] == "queue-full"
        assert [row[2] for row in await desk.outcomes()] == ["accepted", "refused"]
        await desk.take(desk.event("!start-agent pm"))
        await until(answered(desk, "did pm"))
        held.gate.set()
        await until(answered_states(desk, {}))
        await desk.take(desk.event("!start-agent slow"))
        await until(answered_states(desk, {}))
    assert held.began.count("slow") == 2


def answered_refusal(desk: Any) -> Any:
    async def look() -> bool:
        return bool(await desk.said())

    return look


async def test_looks_that_hang_leave_room_for_others(desk: Any) -> None:
    """A few at a time, and the next ones when they have ended."""
    gate = asyncio.Event()
    busy = 0

    async def look(_invocation: Invocation) -> Result:
        nonlocal busy
        busy += 1
        await gate.wait()
        return Result("looked")

    desk.handlers["agents list"] = look
    async with running(desk):
        await desk.take(*(desk.event("!agency agents list") for _ in range(40)))

        async def full() -> bool:
            return busy == 32

        await until(full)
        await asyncio.sleep(0.02)
        assert busy == 32
        gate.set()

        async def done() -> bool:
            return len(await desk.said()) == 40

        await until(done)


async def test_what_is_under_way_counts_as_said(desk: Any) -> None:
    """Each of them is answered: no more run than there is room for replies."""
    desk.max_outbox = 2
    held = Held(desk, "agents start")
    async with running(desk) as operations:
        await desk.take(*(desk.event("!start-agent slow") for _ in range(5)))
        await until(answered_states(desk, {State.RUNNING: 1, State.GRANTED: 1}))
        for _ in range(3):
            operations.wake.set()
            await asyncio.sleep(0.02)
        assert await desk.states() == {State.RUNNING: 1, State.GRANTED: 1}
        held.gate.set()

        async def both() -> bool:
            return len(await desk.said()) == 2

        await until(both)
    assert held.began == ["slow", "slow"]


async def test_what_is_not_answered_makes_room_for_the_next(desk: Any) -> None:
    """With room for one reply, and no sender that would tell of a change."""
    desk.max_outbox = 1
    async with running(desk):
        own = [desk.event("!agency ping", sender="@agency:x.org") for _ in range(3)]
        await desk.take(*own, desk.event("!agency ping"))
        await until(answered(desk, "did ping"))


@pytest.mark.parametrize("text", ["!start-agent pm", "!agency ping"])
async def test_result_that_cannot_be_recorded_still_has_an_end(desk: Any, text: str) -> None:
    async def odd(_invocation: Invocation) -> Result:
        return Result("done", detail={"odd": object()})

    desk.handlers["agents start"] = desk.handlers["ping"] = odd
    (reply,) = await desk.say(text)
    assert reply["body"].startswith("The control plane failed with an internal error")
    assert (await desk.outcomes())[-1][2] == "failed"
    assert await desk.unfinished() == 0


async def test_defect_met_at_admission_stops_nobody_behind(
    desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decide(_policy: Policy, _actor: str, command: Any, target: str) -> Allow:
        if target == "odd":
            raise ZeroDivisionError
        return Allow()

    monkeypatch.setattr(Policy, "decide", decide)
    await desk.take(desk.event("!start-agent odd"), desk.event("!start-agent pm"))
    await desk.settle()
    assert len(desk.calls) == 1
    assert sorted(row[2] for row in await desk.outcomes()) == ["accepted", "done", "failed"]
    assert await desk.unfinished() == 0


async def test_error_that_nobody_settles_ends_the_whole(desk: Any) -> None:
    class EndedError(BaseException):
        pass

    async def start(_invocation: Invocation) -> Result:
        raise EndedError

    desk.handlers["agents start"] = start
    operations = desk.make_operations()
    task = asyncio.create_task(operations.run())
    await desk.take(desk.event("!start-agent pm"), desk.event("!stop-agent pm"))
    with suppress(TimeoutError), pytest.raises(EndedError):
        await asyncio.wait_for(task, WAIT_S)
    assert operations.active == 0
    assert desk.calls == [], "and nothing begins any more"
