"""Changes of one target take turns, those of others do not wait for them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

import pytest

from agency.control.operation import Operation, Origin, OriginKind
from agency.control.operations.running.queues import TargetQueues


def operation(number: int, target: str) -> Operation:
    origin = Origin(OriginKind.HTTP, f"{number}", number)
    return Operation(origin, "@a:x", "agents start", "", target, f"t-{number}", 1, 2)


@dataclass
class Bench:
    """Runs operations until a test lets them go, and notes who is at it."""

    together: int = 32
    began: list[str] = field(default_factory=list)
    ended: list[BaseException | None] = field(default_factory=list)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    error: BaseException | None = None
    now: int = 0
    most: int = 0

    def queues(self, most: int = 9, total: int = 99) -> TargetQueues:
        return TargetQueues(self.run, most, self.ended.append, total, self.together)

    async def run(self, each: Operation) -> None:
        self.began.append(each.trace)
        self.now += 1
        self.most = max(self.most, self.now)
        await self.gate(each.trace).wait()
        self.now -= 1
        if self.error is not None:
            raise self.error

    def gate(self, trace: str) -> asyncio.Event:
        return self.gates.setdefault(trace, asyncio.Event())


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_changes_of_one_target_take_turns_in_order() -> None:
    bench = Bench()
    queues = bench.queues()
    for number in range(4):
        queues.put(operation(number, "pm"))
    for number in range(4):
        await turn()
        assert bench.began == [f"t-{n}" for n in range(number + 1)]
        bench.gate(f"t-{number}").set()
    await turn()
    assert bench.most == 1
    assert (queues.active, queues.tasks, bench.ended) == (0, [], [None])


async def test_another_target_does_not_wait() -> None:
    bench = Bench()
    queues = bench.queues()
    for number, target in enumerate(("pm", "pm", "developer")):
        queues.put(operation(number, target))
    await turn()
    assert bench.began == ["t-0", "t-2"]


async def test_only_so_many_act_at_one_time() -> None:
    bench = Bench(together=2)
    queues = bench.queues()
    for number in range(5):
        queues.put(operation(number, f"agent{number}"))
    await turn()
    assert len(bench.began) == 2
    for number in range(5):
        bench.gate(f"t-{number}").set()
    await turn()
    await turn()
    assert len(bench.began) == 5
    assert bench.most == 2


async def test_queue_is_bounded_beside_the_one_that_acts() -> None:
    bench = Bench()
    queues = bench.queues(most=2)
    queues.put(operation(0, "pm"))
    await turn()
    for number in (1, 2):
        assert not queues.is_full("pm")
        queues.put(operation(number, "pm"))
    assert queues.is_full("pm")
    assert not queues.is_full("developer"), "a full queue is its target's alone"
    bench.gate("t-0").set()
    await turn()
    assert not queues.is_full("pm")


async def test_all_queues_together_are_bounded() -> None:
    queues = Bench().queues(total=2)
    for number in range(3):
        queues.put(operation(number, "pm"))
    assert queues.is_full("developer")


async def test_what_is_put_as_a_target_falls_idle_is_run() -> None:
    """Also between the last look into the queue and the end of its task."""
    bench = Bench()
    queues = bench.queues()
    bench.gate("t-0").set()
    bench.gate("t-1").set()
    queues.put(operation(0, "pm"))
    (task,) = queues.tasks
    while not task.done():  # noqa: ASYNC110 - the very turn of the loop in which it ends
        await asyncio.sleep(0)
    queues.put(operation(1, "pm"))
    await turn()
    assert bench.began == ["t-0", "t-1"]
    assert queues.active == 0


@pytest.mark.parametrize("cancel", [False, True])
async def test_after_an_error_or_a_cancellation_nothing_of_that_target_begins(cancel: bool) -> None:
    bench = Bench()
    queues = bench.queues()
    for number in range(2):
        queues.put(operation(number, "pm"))
    await turn()
    error = ZeroDivisionError()
    if cancel:
        queues.tasks[0].cancel()
    else:
        bench.error = error
        bench.gate("t-0").set()
    await turn()
    assert bench.began == ["t-0"]
    assert bench.ended == [None if cancel else error]
    assert queues.active == 0
    queues.put(replace(operation(2, "pm")))
    await turn()
    assert bench.began == ["t-0", "t-2"]
