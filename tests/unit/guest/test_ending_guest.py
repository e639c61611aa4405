"""A step that failed because its guest ends, or hangs: which it was, and soon."""

import asyncio

import pytest
from rich.console import Console

from agency.clock import Clock
from agency.guests.incus.errors import IncusError, IncusTimeoutError
from agency.guests.incus.model import Instance, Kind
from agency.machine.machine import Completed, MachineError
from agency.spinup.progress import Progress
from agency.spinup.record import Recorder
from agency.spinup.targets.incus import watch as watching
from agency.spinup.targets.incus.watch import Watch


class LoggedIncusError(IncusError):
    """A step's error that brings its own log."""

    log_tail = ("why",)


CAUSE = LoggedIncusError("the step failed")


class Guest:
    """A guest that is asked whether it answers: yes, not at all, or never."""

    name = "agency-run-1"

    def __init__(self, how: str, status: str) -> None:
        self.how = how
        self.incus = Incus(status)
        self.asked = 0

    async def look(self, *argv: str, timeout_s: float = 1.0, **_: object) -> Completed:
        self.asked += 1
        if self.how == "hangs":
            await asyncio.sleep(timeout_s)
            raise IncusTimeoutError("did not end")
        if self.how == "refuses":
            raise IncusError("Instance is not running")
        said = b"the journal\n" if argv[0] == "journalctl" else b""
        return Completed(0, said, b"", truncated=False)


class Incus:
    """An Incus that says how the guest is."""

    def __init__(self, status: str) -> None:
        self.status = status

    async def instance(self, name: str) -> Instance:
        return Instance(name, Kind.CONTAINER, self.status, {}, {}, "", None)


def watch(how: str, status: str, *, awake: bool = True) -> Watch:
    recorder = Recorder("incus", Clock(), Progress(Console(quiet=True), quiet=True))
    return Watch(Guest(how, status), recorder, awake)


async def test_a_guest_that_has_ended_is_named_as_the_cause() -> None:
    with pytest.raises(MachineError, match="ended by itself: Stopped") as caught:
        await watch("refuses", "Stopped").explain(CAUSE)
    assert caught.value.__cause__ is CAUSE


async def test_a_guest_that_answers_is_not_the_cause() -> None:
    await watch("answers", "Running").explain(CAUSE)


async def test_a_guest_that_hangs_is_given_up_in_time(monkeypatch) -> None:
    monkeypatch.setattr(watching, "_EXPLAIN_S", 0.2)
    hanging = watch("hangs", "Running")
    async with asyncio.timeout(30):
        await hanging.explain(CAUSE)


async def test_a_guest_that_hangs_while_it_ends_is_seen_to(monkeypatch) -> None:
    monkeypatch.setattr(watching, "_ANSWER_S", 0.01)
    with pytest.raises(MachineError, match="ended by itself"):
        await watch("hangs", "Stopped").explain(CAUSE)


async def test_a_guest_that_is_being_made_or_rebooted_is_not_asked() -> None:
    asleep = watch("hangs", "Stopped", awake=False)
    await asleep.explain(CAUSE)
    assert asleep.guest.asked == 0


async def test_a_guest_that_runs_is_guarded_but_while_it_reboots(monkeypatch) -> None:
    monkeypatch.setattr(watching, "_WATCH_S", 0.0)
    ended = watch("refuses", "Stopped")
    with pytest.raises(MachineError, match="ended by itself: Stopped"):
        await ended.guard()
    with ended.asleep():
        await ended.refuse_ended()
    with pytest.raises(MachineError, match="ended by itself"):
        await ended.refuse_ended()


async def test_an_error_without_a_log_is_given_the_journals() -> None:
    seen = watch("answers", "Running")
    await seen.explain(asyncio.CancelledError())
    lines = seen.recorder.log_tail()
    assert lines == (
        "agency-control.service: the journal",
        "matrix-synapse.service: the journal",
    )
    asked = seen.guest.asked
    await seen.explain(CAUSE)
    assert seen.guest.asked == asked + 1, "no journal is read where the error has a log"


async def test_a_guest_that_cannot_be_asked_is_said_to_be_so() -> None:
    lines = await watch("refuses", "Running").journals()
    assert lines == ("the guest cannot be asked: Instance is not running",)
