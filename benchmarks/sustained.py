"""Commands answered for a while, and looks at a steady rate, beside a bare echo appservice.

Both are asked in turns of a few seconds, so that what else the machine does falls on both.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable

from benchmarks.chat import Stopwatch, bench
from benchmarks.rows import Row, percentile

_DEFAULT_S = 60.0
_TURN_S = 5.0
_TOGETHER = 10  # commands under way at one time
_PER_S = 8  # looks: half of what the echo carries on the machine that this was written on
_LOOK = "!agency agents list"
_ECHO = "bare echo appservice on the same Synapse"


def seconds() -> float:
    """Return how long each of the two is asked: BENCH_SECONDS of the environment, or a minute."""
    return float(os.environ.get("BENCH_SECONDS", _DEFAULT_S))


async def _as_many_as_possible(watch: Stopwatch, room: str, for_s: float) -> tuple[int, float]:
    """Ask again as soon as an answer is there; return the answers, and the time that they took."""
    begun, count = time.perf_counter(), 0

    async def ask() -> None:
        nonlocal count
        while time.perf_counter() - begun < for_s:
            await watch.ask(room, "!agency ping")
            count += 1

    await asyncio.gather(*(ask() for _ in range(_TOGETHER)))
    return count, time.perf_counter() - begun


async def _at_a_rate(watch: Stopwatch, room: str, for_s: float) -> list[float]:
    """Look at a steady rate, whether or not the answers keep up; return each answer's seconds."""
    asked: list[asyncio.Task[float]] = []
    begun = time.perf_counter()
    for number in range(int(for_s * _PER_S)):
        await asyncio.sleep(max(0.0, begun + number / _PER_S - time.perf_counter()))
        asked.append(asyncio.create_task(watch.ask(room, _LOOK)))
    return list(await asyncio.gather(*asked))


async def _in_turns(
    for_s: float, rooms: tuple[str, str], one: Callable[[str, float], Awaitable[None]]
) -> None:
    turns = max(1, round(for_s / _TURN_S))
    for _ in range(turns):
        for room in rooms:
            await one(room, for_s / turns)


async def _measure() -> list[Row]:
    answers: dict[str, list[tuple[int, float]]] = {}
    looks: dict[str, list[float]] = {}
    async with bench() as on:
        rooms = (on.control, on.other)

        async def answer(room: str, for_s: float) -> None:
            found = await _as_many_as_possible(on.watch, room, for_s)
            answers.setdefault(room, []).append(found)

        async def look(room: str, for_s: float) -> None:
            looks.setdefault(room, []).extend(await _at_a_rate(on.watch, room, for_s))

        for room in rooms * 5:
            await on.watch.ask(room, "!agency ping")
        await _in_turns(seconds(), rooms, answer)
        await _in_turns(seconds(), rooms, look)
        ours, bare = on.control, on.other
    return rows_of(answers[ours], answers[bare], looks[ours], looks[bare])


def rows_of(
    ours: list[tuple[int, float]],
    bare: list[tuple[int, float]],
    our_looks: list[float],
    bare_looks: list[float],
) -> list[Row]:
    """Make the rows; a rate of at least 0.8 of the echo's is at most 1.25 of its time a command."""
    return [
        Row(
            "sustained.per_command",
            _each_ms(ours),
            "ms",
            _ECHO,
            _each_ms(bare),
            1.25,
            limit_on="ratio",
        ),
        Row(
            "sustained.look.p99",
            percentile(our_looks, 0.99) * 1000,
            "ms",
            _ECHO,
            percentile(bare_looks, 0.99) * 1000,
            2.0,
            limit_on="ratio",
        ),
    ]


def _each_ms(turns: list[tuple[int, float]]) -> float:
    count, took_s = (sum(each) for each in zip(*turns, strict=True))
    return 1000 * took_s / count if count else float("inf")


def rows() -> list[Row]:
    """Measure both on one local agency."""
    return asyncio.run(_measure())
