"""A step that failed because its guest ends, or hangs: which it was, and soon."""

import asyncio

import pytest

from agency.guests.incus.errors import IncusError, IncusTimeoutError
from agency.guests.incus.model import Instance, Kind
from agency.guests.machines.machine import GuestError
from agency.machine.completed import Completed
from agency.spinup.targets.incus import target as targets
from agency.spinup.targets.incus.target import IncusTarget

CAUSE = IncusError("the step failed")


class Guest:
    """A guest that is asked whether it answers: yes, not at all, or never."""

    name = "agency-run-1"

    def __init__(self, how: str) -> None:
        self.how = how
        self.asked = 0

    async def look(self, *_: str, timeout_s: float) -> Completed:
        self.asked += 1
        if self.how == "hangs":
            await asyncio.sleep(timeout_s)
            raise IncusTimeoutError("did not end")
        if self.how == "refuses":
            raise IncusError("Instance is not running")
        return Completed(0, b"", b"", truncated=False)


class Incus:
    """An Incus that says how the guest is."""

    def __init__(self, status: str) -> None:
        self.status = status

    async def instance(self, name: str) -> Instance:
        return Instance(name, Kind.CONTAINER, self.status, {}, {}, "", None)


def target(how: str, status: str, *, watched: bool = True) -> IncusTarget:
    made = IncusTarget(None, None, None, Incus(status), None, None)
    made._guest = Guest(how)
    made._watched = watched
    return made


async def test_a_guest_that_has_ended_is_named_as_the_cause() -> None:
    with pytest.raises(GuestError, match="ended by itself: Stopped") as caught:
        await target("refuses", "Stopped")._refuse_ended(CAUSE)
    assert caught.value.__cause__ is CAUSE


async def test_a_guest_that_answers_is_not_the_cause() -> None:
    await target("answers", "Running")._refuse_ended(CAUSE)


async def test_a_guest_that_hangs_is_given_up_in_time(monkeypatch) -> None:
    monkeypatch.setattr(targets, "_EXPLAIN_S", 0.2)
    hanging = target("hangs", "Running")
    async with asyncio.timeout(30):
        await hanging._refuse_ended(CAUSE)


async def test_a_guest_that_hangs_while_it_ends_is_seen_to(monkeypatch) -> None:
    monkeypatch.setattr(targets, "_ANSWER_S", 0.01)
    with pytest.raises(GuestError, match="ended by itself"):
        await target("hangs", "Stopped")._refuse_ended(CAUSE)


async def test_a_guest_that_is_being_made_or_rebooted_is_not_asked() -> None:
    unwatched = target("hangs", "Stopped", watched=False)
    await unwatched._refuse_ended(CAUSE)
    assert unwatched._guest.asked == 0
