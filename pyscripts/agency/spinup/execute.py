"""Running a target's steps so that every way they can end is on record."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from agency.errors import AgencyError
from agency.signals import stop_signals
from agency.spinup.record import Recorder

# A step without a function is left out on purpose; it is on record as skipped.
Step = tuple[str, Callable[[], Awaitable[None]] | None]


class FailedProbeError(AgencyError):
    """A mandatory probe failed, and nothing was to be done after that."""


class InterruptedRunError(AgencyError):
    """Somebody asked the spin-up to stop."""


class TimeLimitError(AgencyError):
    """The steps took longer than they may."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a target hands over to be run.

    `guard` returns never, and raises when something ends that should run; `stop` is called once,
    however the steps end, and records itself as a step.
    """

    steps: tuple[Step, ...]
    guard: Callable[[], Awaitable[None]]
    stop: Callable[[], Awaitable[None]]
    fail_fast: bool = False  # whether a mandatory probe that failed ends it


async def execute(
    plan: Plan, recorder: Recorder, *, timeout_s: float, interrupted: asyncio.Event
) -> Exception | None:
    """Run the steps in order until one fails, then stop the target.

    What ends a step is on the record (`recorder.failure`) and is not raised: a transcript must
    tell of it. Returned is the error when it is a defect of ours rather than a finding.
    """
    defect: Exception | None = None
    for part in (_steps(plan, recorder, interrupted, timeout_s), plan.stop()):
        try:
            await part
        except (AgencyError, OSError):
            pass  # recorder.step has it
        except Exception as error:  # noqa: BLE001 - a defect must reach the transcript too
            defect = defect or error
    return defect


@dataclass(frozen=True, slots=True)
class _Ends:
    """What ends a step before its time. Each is waited for: none may disturb an end under way."""

    guard: asyncio.Future[None]
    wish: asyncio.Future[Any]
    limit: asyncio.Future[None]

    @property
    def all(self) -> tuple[asyncio.Future[Any], ...]:
        return (self.guard, self.wish, self.limit)


async def _steps(
    plan: Plan, recorder: Recorder, interrupted: asyncio.Event, timeout_s: float
) -> None:
    ends = _Ends(
        guard=asyncio.ensure_future(plan.guard()),
        wish=asyncio.ensure_future(interrupted.wait()),
        limit=asyncio.ensure_future(asyncio.sleep(timeout_s)),
    )
    try:
        for name, run in plan.steps:
            if run is None:
                recorder.skip(name)
                continue
            with recorder.step(name):
                await _first(asyncio.ensure_future(run()), ends)
                if plan.fail_fast:
                    _refuse_failed_probes(recorder)
    finally:
        reached = {step.name for step in recorder.steps}
        for name, _ in plan.steps:
            if name not in reached:
                recorder.skip(name)
        for end in ends.all:
            end.cancel()
        await asyncio.gather(*ends.all, return_exceptions=True)


def _refuse_failed_probes(recorder: Recorder) -> None:
    failed = [probe for probe in recorder.probes if probe.mandatory and probe.status == "failed"]
    if failed:
        raise FailedProbeError(f"{failed[0].name}: {failed[0].reason}", where="probe")


async def _first(step: asyncio.Future[None], ends: _Ends) -> None:
    """Wait for the step; what ends before it cancels it, and waits until it has cleaned up."""
    try:
        await asyncio.wait({step, *ends.all}, return_when=asyncio.FIRST_COMPLETED)
        if ends.wish.done():
            raise InterruptedRunError("interrupted by a signal")
        if ends.guard.done():
            ends.guard.result()
        if ends.limit.done() and not step.done():
            raise TimeLimitError("the time limit of the spin-up ran out")
        step.result()
    finally:
        if not step.done():
            step.cancel()
            await asyncio.wait({step})


@contextmanager
def interruptible() -> Iterator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set; what is under way goes on until somebody looks.

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
