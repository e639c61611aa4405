"""Running a target so that every way it can end is on record."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from agency.errors import AgencyError
from agency.signals import stop_signals
from agency.spinup.record import TEARDOWN, describe
from agency.spinup.run import Run


class InterruptedRunError(AgencyError):
    """Somebody asked the spin-up to stop."""


class TimeLimitError(AgencyError):
    """The steps took longer than they may."""


async def take_steps(
    run: Run,
    spin_up: Coroutine[Any, Any, None],
    *,
    timeout_s: float,
    interrupted: asyncio.Event,
) -> tuple[Exception, ...]:
    """Run the steps in order until one fails; returned are defects of ours, not findings.

    What ends a step is on the record (`recorder.failure`) and is not raised: a transcript must
    tell of it.
    """
    run.watch(_wish(interrupted))
    run.watch(_limit(timeout_s))
    return await _recorded(run, run.drive(spin_up))


async def tear_down(run: Run) -> tuple[Exception, ...]:
    """End what the run holds, as a step of its own; nothing interrupts it. See `take_steps`."""
    return await _recorded(run, _teardown(run))


async def _teardown(run: Run) -> None:
    with run.recorder.step(TEARDOWN):
        await run.held.end()


async def _recorded(run: Run, part: Coroutine[Any, Any, None]) -> tuple[Exception, ...]:
    defects: tuple[Exception, ...] = ()
    try:
        await part
    except* (AgencyError, OSError) as group:
        run.recorder.fail(describe(group))  # unless a step has it
    except* Exception as group:  # noqa: BLE001 - a defect must reach the transcript too
        run.recorder.fail(describe(group))
        defects = group.exceptions
    return defects


async def _wish(interrupted: asyncio.Event) -> None:
    await interrupted.wait()
    raise InterruptedRunError("interrupted by a signal")


async def _limit(timeout_s: float) -> None:
    await asyncio.sleep(timeout_s)
    raise TimeLimitError("the time limit of the spin-up ran out")


@contextmanager
def interruptible() -> Iterator[asyncio.Event]:
    """Make an event that SIGINT and SIGTERM set; steps under way go on until one looks at it.

    It belongs around all that a run makes and removes: a signal ends nothing by itself. Where
    SIGINT is ignored, as in a background job, it stays so.
    """
    loop, event = asyncio.get_running_loop(), asyncio.Event()
    signals = stop_signals()
    for number in signals:
        loop.add_signal_handler(number, event.set)
    try:
        yield event
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
