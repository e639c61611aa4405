"""`agents disable` is done as a whole, whatever ends the control plane in the middle of it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import pytest
from desk import Desk
from herd import Farm

from agency.control.agents.staff import Staff
from agency.control.service.reconcile import reconcile
from agency.matrix import MatrixError

ACCOUNT = "@agent-pm:x.org"
DISABLE = "!agency agents disable pm"
LEFT = f"{ACCOUNT} left its room, and its tokens open nothing any more."


class KilledError(BaseException):
    """Kill -9 between the process of the agent and its account."""


async def kill(running: Coroutine[None, None, None]) -> None:
    """Have the control plane end where it would dismiss an account."""

    async def killed(_staff: Staff, _name: str) -> tuple[str, bool]:
        raise KilledError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Staff, "dismiss", killed)
        with pytest.raises(KilledError):
            await running


async def start(farm: Farm) -> None:
    """Start the control plane again, and let it answer and bring about what an earlier run left."""
    await farm.open()
    front, targets, clock = farm.operations, farm.desk.targets, farm.desk.clock
    assert targets is not None
    await farm.desk.finish(front)
    starting = asyncio.create_task(
        reconcile(["pm"], targets, front, clock, lambda: f"t-start-{clock.now_ms()}")
    )
    while not starting.done():
        await farm.desk.finish(front)
        await asyncio.sleep(0.001)
    await starting


@pytest.fixture
async def farm(desk: Desk) -> Farm:
    made = Farm(desk)
    await made.open()
    await made.say("!agency agents start pm")
    return made


async def asked(farm: Farm) -> int:
    """Count the commands to disable an agent that began, whoever asked."""
    outcomes = await farm.desk.outcomes()
    return [row[1:] for row in outcomes].count(("agents disable", "accepted"))


@pytest.mark.parametrize("times", [0, 1, 3])
async def test_killed_in_the_middle_it_is_made_up_for_at_the_start(farm: Farm, times: int) -> None:
    """However often that is, and once it is done no start does it again."""
    if times == 0:
        await farm.say(DISABLE)
    else:
        await farm.desk.take(farm.desk.event(DISABLE))
        await kill(farm.desk.finish(farm.operations))
    for _ in range(times - 1):
        farm.desk.held.seconds += 1
        await kill(start(farm))
    assert farm.left == ([] if times else [ACCOUNT])
    farm.desk.held.seconds += 1
    await start(farm)
    assert farm.left == [ACCOUNT]
    assert "pm" not in farm.herd.running
    if times == 1:
        said = (await farm.desk.said())[-1]["body"]
        assert "pm is to stay disabled. To that end the control plane acted:" in said
        assert LEFT in said
    before = await asked(farm)
    farm.desk.held.seconds += 1
    await start(farm)
    assert (farm.left, await asked(farm)) == ([ACCOUNT], before)


async def test_it_is_made_up_for_where_another_change_comes_first(farm: Farm) -> None:
    """The change that waits behind the interrupted one leaves the agent disabled."""
    desk = farm.desk
    await desk.take(desk.event(DISABLE), desk.event("!agency agents stop pm"))
    await kill(desk.finish(farm.operations))
    await start(farm)
    assert farm.left == [ACCOUNT]


@pytest.mark.parametrize("away", [True, False])
async def test_an_account_that_could_not_leave_is_dismissed_at_the_next_start(
    farm: Farm, away: bool
) -> None:
    farm.away = MatrixError("no answer within 5 s", where="homeserver") if away else None
    said = await farm.say(DISABLE)
    assert ("could not leave its rooms" in said) is away
    assert farm.left == ([] if away else [ACCOUNT])
    farm.away = None
    await start(farm)
    assert farm.left == [ACCOUNT]
    assert await asked(farm) == (2 if away else 1)


@pytest.mark.parametrize("killed", [True, False])
async def test_that_it_was_out_before_counts_for_no_later_wish(farm: Farm, killed: bool) -> None:
    desk = farm.desk
    await farm.say(DISABLE)
    desk.held.seconds += 1
    await farm.say("!agency agents enable pm")
    desk.held.seconds += 1
    if killed:
        await desk.take(desk.event(DISABLE))
        await kill(desk.finish(farm.operations))
    await start(farm)
    assert farm.left == [ACCOUNT] * (2 if killed else 1)
