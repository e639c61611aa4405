"""The inbox: nothing taken twice, a sync's events and token together or not at all."""

from __future__ import annotations

import pytest
from gosutos import ROOM
from room_events import ME, NOW, PEER, envelope, event, policy

from agency.agent.programs.steps import Ending, Finish
from agency.agent.rooms.answering import still_trusted
from agency.agent.rooms.events.envelope import Envelope
from agency.agent.rooms.events.reading import read_message
from agency.agent.rooms.inbox import DELETED, Inbox, InboxError, State
from agency.agent.rooms.listening import Policy, PolicyError
from agency.agent.rooms.program import Assignment, said, task_text


def message(event_id="$e", **more):
    return read_message(ROOM, event() | {"event_id": event_id} | more)


def test_an_event_is_taken_once_and_survives(tmp_path):
    with Inbox(tmp_path / "state") as inbox:
        assert inbox.take(message(), "do it", NOW)
        assert not inbox.take(message(), "do it", NOW)
        inbox.begin("$e")
        inbox.replied("$e", "$r")
    with Inbox(tmp_path / "state") as inbox:
        (work,) = inbox.open_work()
        assert (work.state, work.tries, work.reply_id, work.text) == (
            State.WORKING,
            1,
            "$r",
            "do it",
        )
        inbox.interrupted("$e")
        inbox.settle("$e", "done")
        assert inbox.get("$e").tries == 0
        inbox.finish("$e", State.DONE)
        assert not inbox.open_work()
        assert inbox.get("$e").text == ""
        assert inbox.knows("$e")
        assert inbox.in_thread(ROOM, "$e")
        inbox.forget(NOW + 31 * 86_400_000)
        assert not inbox.knows("$e")
    assert (tmp_path / "state" / "inbox.db").stat().st_mode & 0o077 == 0


def test_an_envelope_is_taken_once_whatever_event_carries_it(tmp_path):
    found = Envelope.model_validate(envelope())
    with Inbox(tmp_path / "state") as inbox:
        assert inbox.take(message("$a", sender=PEER), "x", NOW, envelope=found)
        assert not inbox.take(message("$b", sender=PEER), "x", NOW, envelope=found)
        work = inbox.get("$a")
        assert (work.protocol, work.hops) == ("tasks", 2)
        assert still_trusted(policy(), work)
        assert not still_trusted(policy(trust={"peers": {}}), work)


@pytest.mark.parametrize(("said", "kept"), [("\ud83d\ude00", "😀"), ("\ud83d.", "\ufffd.")])
def test_half_a_character_is_no_end_of_an_answer(tmp_path, said, kept):
    with Inbox(tmp_path / "state") as inbox:
        assert inbox.take(message(), f"what is {said}", NOW)
        inbox.begin("$e")
        inbox.settle("$e", f"done {said}")
    with Inbox(tmp_path / "state") as inbox:
        work = inbox.get("$e")
        assert (work.text, work.answer) == (f"what is {kept}", f"done {kept}")


def test_events_and_token_are_put_down_together(tmp_path):
    with Inbox(tmp_path / "state") as inbox:
        with pytest.raises(ZeroDivisionError):
            _torn(inbox)
        assert inbox.since is None
        assert not inbox.open_work()


def _torn(inbox):
    with inbox.transaction():
        inbox.take(message(), "x", NOW)
        inbox.put_fact("since", "s1")
        _ = 1 / 0


def test_a_refusal_is_no_work_and_counts_as_one(tmp_path):
    with Inbox(tmp_path / "state") as inbox:
        inbox.take(message(), "x", NOW, refusal="no")
        inbox.take(message("$f"), "x", NOW)
        assert inbox.recent(NOW) == (1, True)
        assert inbox.recent(NOW + 60_000) == (0, False)
        assert inbox.waiting() == 1
        assert not inbox.in_thread(ROOM, "$e")
        inbox.say(NOW)
        assert inbox.said(NOW) == [NOW]


@pytest.mark.parametrize("ahead", [0, 3_600_000, 400 * 86_400_000])
def test_a_clock_that_was_put_back_fills_one_minute_at_most(tmp_path, ahead):
    """What was taken with the clock ahead counts for a minute from the next look, in its order."""
    with Inbox(tmp_path / "state") as inbox:
        for number in range(30):
            inbox.take(message(f"$e{number}"), "x", NOW + ahead - number)
        assert inbox.recent(NOW) == (30, False)
        assert inbox.recent(NOW + 59_000) == (30, False)
        assert inbox.recent(NOW + 60_000) == (0, False)
        inbox.take(message("$later"), "x", NOW + 60_000)
        assert inbox.recent(NOW + 60_000) == (1, False)
        assert inbox.open_work()[-1].event_id == "$later"
        for work in inbox.open_work():
            inbox.finish(work.event_id, State.DONE)
        inbox.forget(NOW + 31 * 86_400_000)
        assert not inbox.knows("$e0"), "it is kept for thirty days from then, and no longer"


def test_what_was_deleted_is_dropped_or_says_so(tmp_path):
    with Inbox(tmp_path / "state") as inbox:
        for each in ("$waits", "$works", "$done"):
            inbox.take(message(each), "x", NOW)
        inbox.begin("$works")
        inbox.finish("$done", State.DONE)
        for each in ("$waits", "$works", "$done", "$other"):
            inbox.take_back(each)
        assert [(w.event_id, w.answer) for w in inbox.open_work()] == [("$works", DELETED)]
        assert inbox.get("$done").state is State.DONE


def test_a_second_process_and_a_foreign_file_are_refused(tmp_path):
    with Inbox(tmp_path / "state"), pytest.raises(InboxError, match="another process answers"):
        Inbox(tmp_path / "state")
    (tmp_path / "state" / "inbox.db").write_bytes(b"no database" * 100)
    with pytest.raises(InboxError, match="not a database"):
        Inbox(tmp_path / "state")


def test_no_policy_no_work(tmp_path):
    found = Policy(tmp_path / "gosuto.json", "pm")
    with pytest.raises(PolicyError):
        found.read()
    (tmp_path / "gosuto.json").write_text("{}")
    with pytest.raises(PolicyError):
        found.read()


def test_ends_and_tasks_as_texts():
    assert said(Finish(Ending.ANSWERED, "4")) == "4"
    assert said(Finish(Ending.BUDGET, "spent")).startswith("Not done (budget)")
    assert "limit of tokens" in said(Finish(Ending.CUT, "4"))
    asked = Assignment("$e", ROOM, "$r", ME, "do it", "tasks")
    assert "protocol tasks" in task_text(asked)
    assert asked.trace == Assignment("$e", "", "", "", "").trace
