"""When the reconciler looks: in time that only passes where everybody waits."""

from __future__ import annotations

import asyncio
import selectors
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from agency.control.agents.reconciler import Reconciler
from agency.errors import AgencyError


class Jumping(selectors.SelectSelector):
    """A selector that waits for nothing: `now` is when the wait would be over."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everybody waits for ever"
        self.now += max(0.0, timeout)
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop in the time of its selector."""

    def __init__(self) -> None:
        self.jumping = Jumping()
        super().__init__(self.jumping)

    def time(self) -> float:
        return self.jumping.now


@dataclass(slots=True)
class Looking(Reconciler):
    """A reconciler that only notes when it looks, and that meets a fault each time."""

    looked: list[float] = field(default_factory=list)
    fault: Exception | None = None
    closed: int = 0

    async def look(self) -> None:
        self.looked.append(round(asyncio.get_running_loop().time(), 3))
        if self.fault is not None:
            raise self.fault

    async def close(self) -> None:
        self.closed += 1


def looking(**settings: Any) -> Looking:
    nothing: Any = None
    speaker: Any = SimpleNamespace(database=None, clock=None, new_trace=None)
    return Looking(speaker, nothing, nothing, nothing, nothing, **settings)


def watched(
    watch: Looking, until_s: float, *, ready_s: float = 0.0, woken: tuple[float, ...] = ()
) -> list[float]:
    """Return when it looks until a time, if the agents are ready and it is woken then."""

    async def live() -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        loop.call_later(ready_s, ready.set_result, None)
        for each in woken:
            loop.call_later(each, watch.woken.set)
        running = asyncio.create_task(watch.run(ready))
        await asyncio.sleep(until_s)
        assert not running.done(), "it goes on"
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(live())
    return watch.looked


def test_it_looks_every_so_many_seconds() -> None:
    assert watched(looking(every_s=30.0), 95) == [0, 30, 60, 90]


def test_it_begins_when_the_agents_were_started() -> None:
    assert watched(looking(every_s=30.0), 50, ready_s=12) == [12, 42]


def test_it_looks_at_once_when_it_is_woken() -> None:
    assert watched(looking(every_s=30.0), 50, woken=(10, 17)) == [0, 10, 17, 47]


def test_it_leaves_some_time_between_two_looks_however_often_it_is_woken() -> None:
    often = tuple(each / 10 for each in range(1, 30))
    assert watched(looking(every_s=30.0), 20, woken=often) == [0, 1, 2, 3]


def test_an_interval_shorter_than_that_time_is_kept() -> None:
    assert watched(looking(every_s=0.25), 1.1) == [0, 0.25, 0.5, 0.75, 1]


def test_an_interval_of_none_is_never() -> None:
    watch = looking(every_s=0.0)
    assert watched(watch, 100, woken=(5,)) == []
    assert watch.closed == 1


@pytest.mark.parametrize(
    "fault",
    [
        AgencyError("the disk is full"),
        OperationalError("SELECT 1", {}, Exception("locked")),
        ZeroDivisionError(),
    ],
)
def test_a_look_that_fails_is_followed_by_the_next(fault: Exception) -> None:
    watch = looking(every_s=30.0, fault=fault)
    assert watched(watch, 95) == [0, 30, 60, 90]
    assert watch.closed == 1, "and its end is told to what it began"
