"""Several callers may wait for one operation; what becomes of one is nothing to the others."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from desk import ALICE, BOB, Desk, strict

from agency.control.commands import parse
from agency.control.execution.result import Invocation, RefusalError, Result
from agency.control.operations import Operations, Origin, OriginKind

START = parse("!agency agents start pm")


def origin_of(desk: Desk) -> Origin:
    return Origin(OriginKind.CLI, "one", desk.clock.now_ms())


def ask(front: Operations, desk: Desk, actor: str = ALICE, **more: Any) -> asyncio.Task[Any]:
    return asyncio.create_task(front.ask(START, origin_of(desk), actor, "t-1", **more))


async def begun(front: Operations) -> None:
    """Let calls get to where they wait for the answer."""
    await asyncio.wait_for(front.wake.wait(), 10)
    await asyncio.sleep(0.1)


async def test_one_that_leaves_takes_no_answer_from_the_other(desk: Desk) -> None:
    front = desk.make_operations()
    await front.step()
    first, second = ask(front, desk), ask(front, desk)
    await begun(front)
    first.cancel()
    await asyncio.wait([first])
    third = ask(front, desk)
    await desk.finish(front)
    replies = await asyncio.wait_for(asyncio.gather(second, third), 10)
    assert [each.text for each in replies] == ["did agents start"] * 2
    assert len(desk.calls) == 1


async def test_a_refused_one_takes_no_answer_from_the_other(desk: Desk) -> None:
    front = desk.make_operations()
    await front.step()
    first = ask(front, desk)
    await begun(front)
    with pytest.raises(RefusalError, match="stands for another command"):
        await ask(front, desk, BOB)
    await desk.finish(front)
    assert (await asyncio.wait_for(first, 10)).ok
    assert desk.calls == [f"agents start by {ALICE}"]


async def test_reports_reach_everybody_who_waits(desk: Desk) -> None:
    async def slow(invocation: Invocation) -> Result:
        await invocation.progress("half of it")
        return Result("all of it")

    desk.handlers["agents start"] = slow
    front = desk.make_operations()
    await front.step()
    told: list[str] = []
    calls = [ask(front, desk, tell=told.append), ask(front, desk, tell=told.append)]
    await begun(front)
    await desk.finish(front)
    assert {reply.text for reply in await asyncio.gather(*calls)} == {"all of it"}
    assert told == ["half of it"] * 2


async def test_who_waits_is_told_that_an_approval_is_needed(desk: Desk) -> None:
    front = strict(desk)
    await front.step()
    told: list[str] = []
    call = ask(front, desk, tell=told.append)
    await begun(front)
    await desk.finish(front)
    assert not call.done()
    (line,) = told
    assert "needs an approval, by the rule two-people" in line
    await front.grant(line.split()[1], BOB)
    await desk.finish(front)
    assert (await asyncio.wait_for(call, 10)).ok
