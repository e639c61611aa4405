"""An operator's latency while somebody who may not command floods the control room.

The baseline is the echo appservice in a room of its own, on the same homeserver, in the same flood:
it answers nothing of it.
"""

from __future__ import annotations

import asyncio

from agency.clock import new_id
from agency.matrix import Person
from benchmarks.chat import Stopwatch, bench, stranger_of
from benchmarks.rows import Row, percentile

_FLOODS = 3
_MESSAGES = 150
_TOGETHER = 8
_WARM_UP = 5
_LEAST_ASKS = 10


async def _flood(stranger: Person, room: str) -> None:
    """Send the refused messages, several at a time."""
    turns = asyncio.Semaphore(_TOGETHER)

    async def say() -> None:
        async with turns:
            await stranger.say(room, "!agency agents stop pm", new_id("flood"))

    await asyncio.gather(*(say() for _ in range(_MESSAGES)))


async def _while_flooded(
    watch: Stopwatch, stranger: Person, control: str, other: str
) -> tuple[list[float], list[float]]:
    """Ask both by turns for as long as a flood is sent; one more answer after it counts, too."""
    ours, bare = [], []
    flooding = asyncio.ensure_future(_flood(stranger, control))
    while True:
        over = flooding.done()
        ours.append(await watch.ask(control, "!agency ping"))
        bare.append(await watch.ask(other, "!agency ping"))
        if over:
            break
    await flooding
    return ours, bare


async def _measure() -> list[Row]:
    async with bench() as on:
        stranger = await on.agency.log_in(stranger_of(on.agency))
        await on.operator.invite(on.control, stranger.user_id)
        await stranger.join(on.control)
        for room in (on.control, on.other) * _WARM_UP:
            await on.watch.ask(room, "!agency ping")
        ours: list[float] = []
        bare: list[float] = []
        for _ in range(_FLOODS):
            asked = await _while_flooded(on.watch, stranger, on.control, on.other)
            ours += asked[0]
            bare += asked[1]
    if len(ours) < _LEAST_ASKS:
        raise RuntimeError(f"the flood was over after {len(ours)} questions")
    return [
        Row(
            name=f"flood.ping.{label}",
            value=percentile(ours, share) * 1000,
            unit="ms",
            baseline=f"bare echo appservice in the same floods of {_FLOODS} x {_MESSAGES}",
            baseline_value=percentile(bare, share) * 1000,
            limit=2.0,
            limit_on="ratio",
        )
        for label, share in (("p50", 0.50), ("p99", 0.99))
    ]


def rows() -> list[Row]:
    """Measure an operator's latency under a flood, on one local agency."""
    return asyncio.run(_measure())
