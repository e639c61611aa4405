"""Timers: due on time, once whatever the clock does, by the policy of the moment."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from gosutos import ROOM
from room_events import policy

from agency.agent.rooms.answering import Answerer, still_trusted
from agency.agent.rooms.inbox import Inbox, State
from agency.agent.rooms.program import task_text
from agency.agent.rooms.timers import Timers, due, until_next_look
from agency.clock import Clock
from agency.errors import BadInputError

AT = datetime(2026, 3, 2, 6, 59, 30, tzinfo=UTC)  # a Monday
CRON = {"type": "cron", "schedule": "0 7 * * 1-5", "message": "Sum up yesterday."}


def document(timers=None, **trust):
    timers = {"digest": CRON} if timers is None else timers
    return policy(gateways=timers, trust={"adminRoom": ROOM, **trust})


class Policies:
    def __init__(self, found):
        self.found = found

    def read(self):
        if self.found is None:
            raise BadInputError("it cannot be read")
        return self.found


class Place:
    """Timers over a real inbox, and a clock that a test moves."""

    def __init__(self, path, found=None):
        self.now = AT
        self.policy = Policies(found or document())
        self.clock = Clock(wall=self.wall)
        self.inbox = Inbox(path / "state")
        self.wake = asyncio.Event()
        self.timers = Timers(900, self.inbox, self.policy, self.clock, self.wake)

    def wall(self):
        return self.now.timestamp()

    def look(self, **later):
        self.now += timedelta(**later)
        self.timers.look()
        return [each.event_id for each in self.inbox.open_work()]

    def done(self):
        for each in self.inbox.open_work():
            self.inbox.finish(each.event_id, State.DONE)


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path)
    with made.inbox:
        yield made


SEVEN = "timer:digest@2026-03-02T07:00Z"


def test_a_timer_is_taken_when_it_is_due_and_not_before(place):
    assert place.look() == []
    assert place.look(seconds=29) == []
    assert place.look(seconds=1) == [SEVEN]
    (work,) = place.inbox.open_work()
    assert (work.timer, work.room, work.text) == ("digest", ROOM, "Sum up yesterday.")
    assert place.wake.is_set()
    place.done()
    assert place.look(minutes=1) == []
    assert place.look(days=1) == ["timer:digest@2026-03-03T07:00Z"]


def test_it_looks_at_the_beginning_of_each_minute_and_before():
    assert until_next_look(AT.timestamp()) == 5
    assert until_next_look(AT.timestamp() + 28) == 2
    assert until_next_look(AT.timestamp() + 29.999) == 0.05


async def test_the_loop_takes_what_is_due_when_its_minute_begins(place):
    taken = []

    async def sleep(seconds):
        taken.append((place.now, len(place.inbox.open_work())))
        if len(taken) == 9:
            raise asyncio.CancelledError
        place.now += timedelta(seconds=seconds)

    place.timers.sleep = sleep
    with pytest.raises(asyncio.CancelledError):
        await place.timers.run()
    assert next(at.strftime("%H:%M:%S") for at, waits in taken if waits) == "07:00:00"


def test_a_timer_that_a_new_policy_brings_is_due_at_its_first_time(place):
    """Seen to fail when the timers were looked at once a minute: the first time was lost."""
    known, place.policy.found = place.policy.found, document({})
    place.look()
    place.policy.found = known
    assert place.look(seconds=5) == []
    assert place.look(seconds=25) == [SEVEN]


def test_between_two_minutes_nothing_is_written(place):
    place.look()
    before = place.inbox.fact("timers")
    place.look(seconds=5)
    assert place.inbox.fact("timers") == before
    place.look(seconds=25)
    assert place.inbox.fact("timers") != before


def test_a_clock_that_goes_back_makes_nothing_twice(place):
    place.look()
    assert place.look(minutes=1) == [SEVEN]
    place.done()
    assert place.look(minutes=-5) == []
    assert place.look(minutes=10) == []


def test_a_clock_that_goes_back_silences_nothing(place):
    place.policy.found = document({"digest": {**CRON, "schedule": "0 7 * * *"}})
    place.look()
    assert place.look(minutes=1) == [SEVEN]
    place.done()
    assert place.look(days=-1, minutes=-1) == []
    assert place.look(minutes=1) == ["timer:digest@2026-03-01T07:00Z"]


def test_what_was_missed_is_made_up_for_once_unless_it_is_late(place, tmp_path):
    every = {**CRON, "schedule": "*/5 * * * *"}
    place.policy.found = document({"digest": every})
    place.look()
    assert place.look(minutes=12) == ["timer:digest@2026-03-02T07:10Z"]  # not 07:00 and 07:05, too
    place.done()
    place.policy.found = document({"digest": {**CRON, "schedule": "30 7 * * *"}})
    place.look()
    assert place.look(hours=2) == []  # 07:30 is older than a quarter of an hour


def test_it_is_not_forgotten_over_a_restart(tmp_path):
    first = Place(tmp_path)
    with first.inbox:
        first.look()
    second = Place(tmp_path)
    with second.inbox:
        assert second.look(minutes=2) == [SEVEN]


def test_a_new_timer_is_due_from_now_on(place):
    assert due(document(), {}, AT + timedelta(minutes=5), 900) == ()
    (found,) = due(document(), {"digest": AT}, AT + timedelta(minutes=5), 900)
    assert found.event_id == SEVEN


def test_without_a_policy_nothing_is_due_and_nothing_is_lost(place):
    place.look()
    known, place.policy.found = place.policy.found, None
    assert place.look(minutes=1) == []
    place.policy.found = known
    assert place.look(minutes=1) == [SEVEN]


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (document(adminRoom=None), "trust.adminRoom"),
        (document(requireEncryption=True), "encryption"),
    ],
)
def test_what_could_not_be_said_anywhere_is_not_begun(tmp_path, caplog, found, why):
    place = Place(tmp_path, found)
    with place.inbox:
        place.look()
        assert place.look(minutes=1) == []
        assert why in str([record.__dict__ for record in caplog.records])


def test_an_event_waits_only_once_and_counts_as_one(place):
    each = {**CRON, "schedule": "* * * * *"}
    place.policy.found = policy(
        gateways={"a": each, "b": each, "c": each},
        trust={"adminRoom": ROOM},
        limits={"eventsPerMinute": 2},
    )
    place.look()
    assert len(place.look(minutes=1)) == 2  # the third is one too many
    assert len(place.look(minutes=2)) == 3  # a and b still wait; c is taken


def test_gateways_of_other_kinds_are_no_timers():
    other = {"type": "program", "command": ["x"]}
    looked = {"digest": AT, "other": AT}
    found = due(document({"digest": CRON, "other": other}), looked, AT + timedelta(minutes=1), 900)
    assert [each.timer for each in found] == ["digest"]


def test_a_timer_that_is_gone_or_says_otherwise_is_not_worked_on(place):
    place.look()
    place.look(minutes=1)
    (work,) = place.inbox.open_work()
    assert still_trusted(document(), work)
    assert not still_trusted(document({}), work)
    assert not still_trusted(document({"digest": {**CRON, "message": "Erase all."}}), work)
    assert not still_trusted(document(adminRoom="!other:x.org"), work)
    assert not still_trusted(document(requireEncryption=True), work)


async def test_its_answer_is_said_once_in_the_room_and_not_as_a_reply(place):
    said, asked = [], []

    class Voice:
        homeserver = SimpleNamespace(typing=lambda *_, **__: asyncio.sleep(0))
        document = staticmethod(document)

        async def say(self, room, content, txn):
            said.append((room, content, txn))

    class Program:
        async def work(self, assignment, *_):
            asked.append(task_text(assignment))
            return "Yesterday was quiet."

        def forget(self, assignment):
            """Keep nothing."""

    config = SimpleNamespace(first_s=0, edit_s=0.1)
    answerer = Answerer(config, place.inbox, Voice(), Program(), lambda work: None)
    place.look()
    place.look(minutes=1)
    (work,) = place.inbox.open_work()
    await answerer.answer(work)
    ((room, content, txn),) = said
    assert (room, content["body"]) == (ROOM, "Yesterday was quiet.")
    assert "m.relates_to" not in content
    assert asked == [
        "Your timer digest is due. Your answer is said in the room by itself:\n\nSum up yesterday."
    ]
    assert place.inbox.get(SEVEN).state is State.DONE
    # Killed between the message and its note: the same transaction, so the homeserver knows it.
    place.inbox.settle(SEVEN, "Yesterday was quiet.")
    (again,) = place.inbox.open_work()
    await answerer.answer(again)
    assert said[1][2] == txn
