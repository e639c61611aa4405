"""The loop: what it does, what it skips, what ends it, and that it does nothing twice."""

import asyncio
import logging

import pytest
from task_places import Counting, Moment, loop_in, place_in, states

from agency.errors import PrerequisiteError
from agency.workspace.sheets import SheetError
from agency.workspace.tasks.performer import (
    NotBegunError,
    PausedError,
    Performed,
    UnansweredError,
)
from agency.workspace.tasks.place import BusyError
from agency.workspace.tasks.resolving import settle
from agency.workspace.tasks.scheduler import Stop


def failing(*names: str) -> Counting:
    def act(assignment):
        if assignment.task.name in names:
            return Performed("failed", "exit status 1")
        return Performed("completed", "done", tokens=100)

    return Counting(act)


async def test_works_through_the_list_in_order_of_urgency_and_needs(tmp_path):
    place = place_in(tmp_path, "a: needs: [c]; priority: urgent", "b", "c: priority: low")
    performer = Counting()
    report = await loop_in(place, performer).run()
    assert performer.performed == ["b", "c", "a"]
    assert (report.ok, report.stop) == (True, Stop.NOTHING_LEFT)
    assert set(states(place).values()) == {"completed"}
    assert "  # a\n" in place.sheet_path.read_text()


async def test_while_a_task_is_done_the_list_says_so(tmp_path):
    place = place_in(tmp_path, "a", "b")
    seen = []

    def act(_):
        seen.append(states(place))
        return Performed("completed", "done")

    await loop_in(place, Counting(act), max_tasks=1).run()
    assert seen == [{"a": "in_progress", "b": "pending"}]


async def test_a_failed_task_is_logged_and_skipped_now_and_later(tmp_path, caplog):
    place = place_in(tmp_path, "a", "b", "c: needs: [a]")
    performer = failing("a")
    with caplog.at_level(logging.WARNING):
        report = await loop_in(place, performer).run()
    assert performer.performed == ["a", "b"]
    assert (report.ok, report.waiting) == (True, {"c": ["a"]})
    assert "task a: failed: exit status 1" in caplog.text
    assert place.read_tasks()[0].note == "exit status 1"
    await loop_in(place, performer).run()
    assert performer.performed == ["a", "b"]


@pytest.mark.parametrize(
    ("limits", "done", "stop"),
    [
        ({"max_tasks": 2}, ["a", "b"], Stop.MAX_TASKS),
        ({"max_tokens": 150}, ["a", "b"], Stop.MAX_TOKENS),
        ({"max_wall_s": 25}, ["a", "b", "c"], Stop.MAX_WALL_TIME),
        ({}, ["a", "b", "c", "d"], Stop.NOTHING_LEFT),
    ],
)
async def test_each_limit_ends_a_run(tmp_path, limits, done, stop):
    moment = Moment()
    place = place_in(tmp_path, "a", "b", "c", "d", clock=moment.clock())

    def act(_):
        moment.steady += 10
        moment.wall -= 86400  # which counts for nothing
        return Performed("completed", "done", tokens=100)

    performer = Counting(act)
    report = await loop_in(place, performer, **limits).run()
    assert (performer.performed, report.stop) == (done, stop)
    left = [one.timeout_s for one in performer.assignments]
    assert left == [limits.get("max_wall_s", 3600) - 10 * n for n in range(len(done))]


async def test_failures_in_a_row_end_a_run_and_others_do_not(tmp_path):
    place = place_in(tmp_path, *"abcdef")
    performer = failing("a", "c", "d")
    report = await loop_in(place, performer, max_errors=2, max_tasks=9).run()
    assert performer.performed == ["a", "b", "c", "d"]
    assert (report.ok, report.stop) == (False, Stop.MAX_ERRORS)


async def test_what_cannot_begin_costs_no_task(tmp_path):
    place = place_in(tmp_path, "a", "b")

    def act(_):
        raise NotBegunError("the program is not installed")

    for _ in range(3):
        with pytest.raises(PrerequisiteError, match="not installed"):
            await loop_in(place, Counting(act)).run()
    assert states(place) == {"a": "pending", "b": "pending"}
    performer = Counting()
    await loop_in(place, performer).run()
    assert performer.performed == ["a", "b"]


async def test_a_performer_that_breaks_leaves_an_unknown_outcome(tmp_path):
    place = place_in(tmp_path, "a", "b", "c: needs: [a]")

    def act(assignment):
        if assignment.task.name == "a":
            raise RuntimeError("a fault of ours")
        return Performed("completed", "done")

    performer = Counting(act)
    with pytest.raises(RuntimeError):
        await loop_in(place, performer).run()
    report = await loop_in(place, performer).run()
    assert performer.performed == ["a", "b"]
    assert (report.ok, report.unknown, report.waiting) == (False, ("a",), {"c": ["a"]})
    assert states(place)["a"] == "unknown"


async def test_a_cancelled_run_leaves_an_unknown_outcome(tmp_path):
    place = place_in(tmp_path, "a")
    begun = asyncio.Event()

    class Waiting(Counting):
        async def perform(self, assignment):
            begun.set()
            await asyncio.sleep(60)

    run = asyncio.ensure_future(loop_in(place, Waiting()).run())
    await begun.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert states(place) == {"a": "unknown"}


@pytest.mark.parametrize("outcome", ["completed", "failed", "pending"])
async def test_a_person_settles_an_unknown_outcome(tmp_path, outcome):
    place = place_in(tmp_path, "a")
    place.state.mkdir(mode=0o700)
    place.journal.append("a", "begun", "r")
    performer = Counting()
    report = await loop_in(place, performer).run()
    assert (report.unknown, performer.performed, performer.ended) == (("a",), [], ["r"])
    settle(place, "a", outcome)
    report = await loop_in(place, performer).run()
    assert report.ok
    assert performer.performed == (["a"] if outcome == "pending" else [])
    assert states(place) == {"a": "completed" if outcome == "pending" else outcome}


async def test_a_list_that_is_reverted_makes_nothing_twice(tmp_path):
    """As by `git checkout`, or an agent that writes its old copy."""
    place = place_in(tmp_path, "a", "b")
    before = place.sheet_path.read_text()

    def act(assignment):
        place.sheet_path.write_text(before)
        return Performed("completed", "done")

    performer = Counting(act)
    await loop_in(place, performer).run()
    place.sheet_path.write_text(before)
    await loop_in(place, performer).run()
    assert performer.performed == ["a", "b"]
    assert set(states(place).values()) == {"completed"}


async def test_a_list_that_is_broken_meanwhile_loses_no_outcome(tmp_path):
    place = place_in(tmp_path, "a", "b")
    before = place.sheet_path.read_text()

    def act(_):
        place.sheet_path.write_text("tasks: [\n")
        return Performed("completed", "done")

    performer = Counting(act)
    with pytest.raises(SheetError):
        await loop_in(place, performer).run()
    place.sheet_path.write_text(before)
    performer.act = lambda _: Performed("completed", "done")
    await loop_in(place, performer).run()
    assert performer.performed == ["a", "b"]


async def test_a_task_that_is_added_meanwhile_is_done_too(tmp_path):
    place = place_in(tmp_path, "a")

    def act(assignment):
        if assignment.task.name == "a":
            text = place.sheet_path.read_text()
            place.sheet_path.write_text(text + "  - {name: b, description: more}\n")
        return Performed("completed", "done")

    performer = Counting(act)
    await loop_in(place, performer).run()
    assert performer.performed == ["a", "b"]


async def test_two_loops_at_once_do_nothing_twice(tmp_path):
    place = place_in(tmp_path, "a", "b")
    inside, go = asyncio.Event(), asyncio.Event()

    class Slow(Counting):
        async def perform(self, assignment):
            inside.set()
            await go.wait()
            return await super().perform(assignment)

    first = Slow()
    run = asyncio.ensure_future(loop_in(place, first).run())
    await inside.wait()
    second = Counting()
    with pytest.raises(BusyError, match="another run"):
        await loop_in(place, second).run()
    go.set()
    await run
    assert (first.performed, second.performed) == (["a", "b"], [])
    await loop_in(place, second).run()
    assert second.performed == []


async def test_a_note_is_one_line_of_bounded_length(tmp_path):
    place = place_in(tmp_path, "a", "b")
    notes = iter(["x\ny\x00\u2028" + "z" * 10_000, "\n\n"])
    await loop_in(place, Counting(lambda _: Performed("failed", next(notes)))).run()
    first, second = place.read_tasks()
    assert first.note.startswith("x y  z")
    assert len(first.note) == 500
    assert second.note == "failed"


async def test_a_long_journal_is_made_short_and_forgets_no_task(tmp_path, monkeypatch):
    monkeypatch.setattr("agency.workspace.tasks.journal.COMPACT_BYTES", 1000)
    monkeypatch.setattr("agency.workspace.tasks.journal.MOST_NAMES", 3)
    place = place_in(tmp_path, *"abcde")
    performer = Counting()
    await loop_in(place, performer).run()
    await loop_in(place, performer).run()
    assert performer.performed == list("abcde")
    assert len((place.state / "journal.jsonl").read_text().splitlines()) == 5
    place.sheet_path.write_text("tasks: []\n")
    place.journal.path.write_bytes(place.journal.path.read_bytes() * 2)
    await loop_in(place, performer).run()
    assert list(place.journal.read()) == ["c", "d", "e"]  # the newest


async def test_a_damaged_journal_stops_the_loop(tmp_path):
    place = place_in(tmp_path, "a")
    await loop_in(place, Counting()).run()
    path = place.journal.path
    path.write_bytes(b"{damaged}\n" + path.read_bytes())
    performer = Counting()
    with pytest.raises(Exception, match=r"journal\.jsonl:1: is no record"):
        await loop_in(place, performer).run()
    assert performer.performed == []


async def test_a_task_whose_agent_is_away_is_paused_and_goes_on_with_its_own_run(tmp_path):
    place = place_in(tmp_path, "a", "b")
    away = True

    def act(assignment):
        if away and assignment.task.name == "a":
            raise PausedError("the agent is away")
        return Performed("completed", "done")

    performer = Counting(act)
    with pytest.raises(PausedError):
        await loop_in(place, performer).run()
    assert states(place) == {"a": "pending", "b": "pending"}, "no other is begun meanwhile"
    assert performer.performed == ["a"]
    away = False
    report = await loop_in(place, performer).run()
    assert [(each.task, each.outcome) for each in report.done] == [
        ("a", "completed"),
        ("b", "completed"),
    ]
    first, again, other = performer.assignments
    assert first.run == again.run != other.run
    assert states(place) == {"a": "completed", "b": "completed"}


@pytest.mark.parametrize(
    ("why", "stop", "ok"),
    [("budget", Stop.BUDGET, True), ("errors", Stop.UNANSWERED, False)],
)
async def test_a_task_that_no_model_answers_ends_the_run_and_fails_no_task(tmp_path, why, stop, ok):
    place = place_in(tmp_path, *"abc")
    silent = True

    def act(assignment):
        if silent and assignment.task.name == "b":
            raise UnansweredError(why, "HTTP 503")
        return Performed("completed", "done")

    performer = Counting(act)
    for _ in range(3):
        report = await loop_in(place, performer).run()
        assert (report.stop, report.ok, report.paused) == (stop, ok, {"b": "HTTP 503"})
        assert states(place) == {"a": "completed", "b": "pending", "c": "pending"}
    assert performer.performed == ["a", "b", "b", "b"]
    silent = False
    report = await loop_in(place, performer).run()
    assert (report.stop, report.ok, report.paused) == (Stop.NOTHING_LEFT, True, {})
    assert set(states(place).values()) == {"completed"}
    assert len({each.run for each in performer.assignments}) == 3
