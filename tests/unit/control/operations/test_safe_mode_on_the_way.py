"""Safe mode that is switched on while a change is on its way: it does not begin."""

from __future__ import annotations

import asyncio

import pytest
from desk import ALICE, Desk, DeskTargets

from agency.control.commands import parse
from agency.control.grammar.command import Command
from agency.control.operations import Operations, Origin, OriginKind
from agency.control.policy import SYSTEM
from agency.control.wish import Wish

STOP = "!agency agents stop pm"
BY_ROOT = "cli:root"
MODES = pytest.mark.parametrize("safe", [True, False])


class Homeserver:
    """A homeserver that is away until a test brings it back."""

    def __init__(self) -> None:
        self.asked, self.back = asyncio.Event(), asyncio.Event()

    async def obstacle(self, _room_id: str) -> str | None:
        self.asked.set()
        await self.back.wait()
        return None


class Slow(DeskTargets):
    """Targets at which safe mode is switched on between the last check and the beginning."""

    operations: Operations | None = None

    async def wish(self, command: Command) -> Wish | None:
        if self.operations is not None:
            await self.operations.safety.switch_on(BY_ROOT)
        return await super().wish(command)


async def ended(desk: Desk, *, safe: bool) -> None:
    """Check how the change ended, what was said of it, and what is wished now."""
    (body,) = [said["body"] for said in await desk.said()]
    if safe:
        assert f"{BY_ROOT} switched to safe mode: nothing is changed" in body
        assert (desk.calls, (await desk.outcomes())[-1][2]) == ([], "refused")
        assert (await desk.details())[-1]["code"] == "safe-mode"
    else:
        assert body == "did agents stop"
        assert desk.calls == [f"agents stop by {ALICE}"]
    assert await desk.unfinished() == 0


@MODES
async def test_a_change_that_waits_for_the_homeserver_does_not_begin(
    desk: Desk, safe: bool
) -> None:
    away, answered = Homeserver(), asyncio.Event()
    desk.say_to = lambda _message: answered.set()
    desk.obstacle = away.obstacle
    operations = desk.make_operations()
    await desk.take(desk.event(STOP))
    running = asyncio.create_task(operations.run())
    async with asyncio.timeout(20):
        await away.asked.wait()
        if safe:
            await operations.safety.switch_on(BY_ROOT)
        away.back.set()
        await answered.wait()
    operations.stop()
    await running
    await ended(desk, safe=safe)


@MODES
async def test_nor_does_one_that_passed_the_last_look_at_the_policy(desk: Desk, safe: bool) -> None:
    targets = desk.targets = Slow(desk.database)
    operations = desk.make_operations()
    if safe:
        targets.operations = operations
    await desk.take(desk.event(STOP))
    await desk.finish(operations)
    await ended(desk, safe=safe)


async def test_what_the_control_plane_keeps_up_goes_on(desk: Desk) -> None:
    operations = desk.make_operations()
    await operations.step()
    await operations.safety.switch_on(BY_ROOT)
    origin = Origin(OriginKind.RECONCILE, "t-1/0", desk.clock.now_ms())
    asked = asyncio.create_task(operations.ask(parse(STOP), origin, SYSTEM, "t-1"))
    while not asked.done():
        await desk.finish(operations)
        await asyncio.sleep(0.01)
    assert (await asked).text == "did agents stop"
