"""Running steps: whatever ends one, it has cleaned up before the target is stopped."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from interrupting import sigint
from rich.console import Console

from agency.clock import Clock
from agency.errors import PrerequisiteError
from agency.spinup.execute import FailedProbeError, Plan, execute, interruptible
from agency.spinup.pipeline import _must_be_writable
from agency.spinup.progress import Progress
from agency.spinup.record import Recorder


class Bench:
    """A target of one step after another, which says what it did in `said`."""

    def __init__(self, console):
        self.said: list[str] = []
        self.recorder = Recorder("local", Clock(), Progress(console, quiet=True))
        self.cleaned_up = asyncio.Event()
        self.began = asyncio.Event()
        self.at_clean_up = lambda: None

    async def quick(self) -> None:
        self.said.append("quick")

    async def slow(self) -> None:
        """What takes for ever, and cleans up in several steps of the event loop."""
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.at_clean_up()
            await self.cleaned_up.wait()
            self.said.append("cleaned up")

    async def guard(self) -> None:
        await asyncio.Event().wait()

    async def stop(self) -> None:
        with self.recorder.step("teardown"):
            self.said.append("stopped")

    async def run(self, *steps, timeout_s=60.0, interrupted=None):
        plan = Plan(tuple((step.__name__, step) for step in steps), self.guard, self.stop)
        wish = interrupted or asyncio.Event()
        return await execute(plan, self.recorder, timeout_s=timeout_s, interrupted=wish)

    @property
    def ends(self):
        return {step.name: step.status for step in self.recorder.steps}


@pytest.fixture
async def bench():
    return Bench(Console(quiet=True))


async def test_all_that_ends_well_is_done(bench):
    assert await bench.run(bench.quick) is None
    assert bench.said == ["quick", "stopped"]
    assert bench.ends == {"quick": "done", "teardown": "done"}
    assert bench.recorder.failure is None


async def test_a_wish_to_stop_ends_the_step_and_the_rest_is_left_out(bench):
    wish = asyncio.Event()
    bench.cleaned_up.set()
    running = asyncio.ensure_future(bench.run(bench.slow, bench.quick, interrupted=wish))
    await bench.began.wait()
    wish.set()
    await running
    assert bench.said == ["cleaned up", "stopped"]
    assert bench.ends == {"slow": "failed", "quick": "skipped", "teardown": "done"}
    assert bench.recorder.failure.message == "interrupted by a signal"


async def test_a_wish_from_before_the_first_step_counts(bench):
    wish = asyncio.Event()
    wish.set()
    bench.cleaned_up.set()
    await bench.run(bench.slow, interrupted=wish)
    assert bench.recorder.failure.message == "interrupted by a signal"
    assert bench.said[-1] == "stopped"


async def test_the_time_limit_ends_the_step(bench):
    bench.cleaned_up.set()
    await bench.run(bench.slow, timeout_s=0.0)
    assert bench.said[-1] == "stopped"
    assert "time limit" in bench.recorder.failure.message


async def test_the_time_limit_during_the_clean_up_does_not_cut_it_short(bench):
    wish = asyncio.Event()
    running = asyncio.ensure_future(bench.run(bench.slow, timeout_s=0.05, interrupted=wish))
    await bench.began.wait()
    wish.set()
    await asyncio.sleep(0.2)  # the limit is over
    assert bench.said == [], "nothing is stopped while the step still cleans up"
    bench.cleaned_up.set()
    await running
    assert bench.said == ["cleaned up", "stopped"]
    assert bench.recorder.failure.message == "interrupted by a signal"


async def test_what_is_under_guard_and_ends_is_the_failure(bench):
    async def ends() -> None:
        raise FailedProbeError("it ended by itself")

    bench.guard = ends
    bench.cleaned_up.set()
    await bench.run(bench.slow)
    assert bench.recorder.failure.message == "it ended by itself"


async def test_a_defect_is_told_after_stopping(bench):
    async def broken() -> None:
        raise KeyError("ours")

    defect = await bench.run(broken)
    assert isinstance(defect, KeyError)
    assert bench.said == ["stopped"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_signals_are_wishes_for_the_whole_block(number):
    with sigint(), interruptible() as interrupted:
        for _ in range(2):  # a second one disturbs no more than the first
            os.kill(os.getpid(), number)
            async with asyncio.timeout(30):
                await interrupted.wait()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


async def test_an_ignored_ctrl_c_stays_ignored():
    with sigint(signal.SIG_IGN):
        with interruptible() as interrupted:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(0.1)
            assert not interrupted.is_set()
            os.kill(os.getpid(), signal.SIGTERM)
            async with asyncio.timeout(30):
                await interrupted.wait()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_place_that_can_be_written_is_taken_and_left_as_it_was(tmp_path):
    _must_be_writable(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("there", [True, False])
def test_a_place_that_cannot_be_written_is_found_before_the_run(tmp_path, there):
    place = Path("/proc/self/fdinfo") if there else tmp_path / "file" / "below"
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PrerequisiteError, match="cannot be written") as caught:
        _must_be_writable(place)
    assert caught.value.exit_code == 3
