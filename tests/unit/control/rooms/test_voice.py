"""The bot's ability to answer is asked for once, and again after every change of the room."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from desk import ALICE, Desk

from agency.clock import Clock
from agency.control.rooms.voice import Voice
from agency.matrix import MatrixError, Silence

MUTED = Silence("the bot is muted", "give it power")


class Homeserver:
    """SIMULATED: gives the scripted answers, the last one for ever."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def look(self, _room: str) -> Silence | None:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, MatrixError):
            raise answer
        found: Silence | None = answer
        return found


def voice(homeserver: Homeserver, held: Any) -> Voice:
    async def sleep(seconds: float) -> None:
        held.seconds += seconds

    clock: Clock = held.clock()
    return Voice(homeserver.look, clock, sleep=sleep)


async def test_asked_once_until_something_changes_or_a_minute_is_over(held: Any) -> None:
    homeserver = Homeserver(None, MUTED, None)
    asked = voice(homeserver, held)
    assert [await asked.obstacle("!r") for _ in range(3)] == [None] * 3
    assert homeserver.asked == 1
    asked.changed()
    assert await asked.obstacle("!r") == "the bot is muted; give it power"
    held.seconds += 61
    assert await asked.obstacle("!r") is None
    assert homeserver.asked == 3
    assert await asked.obstacle("!other") is None
    assert homeserver.asked == 4, "another room is another question"


async def test_change_while_it_asks_is_not_missed(held: Any) -> None:
    homeserver = Homeserver(None, MUTED)
    asked = voice(homeserver, held)
    look = asked.look

    async def late(room: str) -> Silence | None:
        found = await look(room)
        if homeserver.asked == 1:
            asked.changed()
        return found

    asked.look = late
    await asked.obstacle("!r")
    assert await asked.obstacle("!r") is not None


@pytest.mark.parametrize("status", [None, 401, 429, 502, 503])
async def test_homeserver_that_restarts_is_waited_for(held: Any, status: int | None) -> None:
    away = MatrixError("refused", where="x", status=status)
    homeserver = Homeserver(*[away] * 50, None)
    began = held.seconds
    assert await voice(homeserver, held).obstacle("!r") is None
    assert homeserver.asked == 51
    assert 50 < held.seconds - began < 300, "it is asked again, and not all the time"


async def test_refusal_of_the_homeserver_is_an_obstacle_at_once(held: Any) -> None:
    homeserver = Homeserver(MatrixError("refused", where="x", status=403))
    assert "does not say" in str(await voice(homeserver, held).obstacle("!r"))
    assert homeserver.asked == 1


@pytest.mark.parametrize("away", [False, True])
async def test_change_waits_for_the_homeserver_until_it_is_too_old(desk: Desk, away: bool) -> None:
    operations = desk.make_operations()

    async def obstacle(_room: str) -> str | None:
        if away:
            await asyncio.Event().wait()
        return None

    operations._changes.obstacle = obstacle
    nearly = desk.clock.now_ms() - 599_800
    await desk.take(desk.event("!agency agents stop pm", origin_server_ts=nearly))
    async with asyncio.timeout(20):
        await desk.finish(operations)
    assert len(desk.calls) == (not away)
    assert ((ALICE, "agents stop", "expired") in await desk.outcomes()) is away
    assert await desk.unfinished() == 0


async def test_change_that_waits_for_the_homeserver_survives_an_end(desk: Desk) -> None:
    operations, asked = desk.make_operations(), asyncio.Event()

    async def obstacle(_room: str) -> str | None:
        asked.set()
        await asyncio.Event().wait()
        return None

    operations._changes.obstacle = obstacle
    await desk.take(desk.event("!agency agents stop pm"))
    await operations.step()
    async with asyncio.timeout(20):
        await asked.wait()
        await operations.close()
    assert await desk.outcomes() == []
    await desk.settle()
    assert desk.calls == ["agents stop by @alice:x.org"]


async def test_change_does_not_begin_when_the_end_came_first(desk: Desk) -> None:
    operations = desk.make_operations()

    async def obstacle(_room: str) -> str | None:
        operations.stop()
        return None

    operations._changes.obstacle = obstacle
    await desk.take(desk.event("!agency agents stop pm"))
    await operations.step()
    await operations.rest()
    assert desk.calls == []
    await desk.settle()
    assert desk.calls == ["agents stop by @alice:x.org"]


@pytest.mark.parametrize("silent", [False, True])
async def test_change_that_cannot_be_answered_does_not_run_and_a_look_does(
    desk: Desk, silent: bool
) -> None:
    operations = desk.make_operations()

    async def obstacle(_room: str) -> str | None:
        return "the bot is muted" if silent else None

    operations._changes.obstacle = obstacle
    await desk.take(desk.event("!agency agents stop pm"), desk.event("!agency ping"))
    await desk.finish(operations)
    assert ("agents stop by @alice:x.org" in desk.calls) is not silent
    assert "ping by @alice:x.org" in desk.calls
    if silent:
        (row,) = [each for each in await desk.details() if each.get("code") == "cannot-answer"]
        assert row["why"] == "the bot is muted"
        assert "Nothing was done" in json.dumps(await desk.said())
    assert await desk.unfinished() == 0
