"""What is next, what waits, and when a run ends."""

import pytest

from agency.workspace.tasks.journal import Record
from agency.workspace.tasks.model import Task
from agency.workspace.tasks.scheduler import (
    Limits,
    Progress,
    Stop,
    corrections,
    held_back,
    next_task,
    why_stop,
)


def task(name: str, **more) -> Task:
    return Task(name=name, description="x", **more)


def record(name: str, event: str, outcome: str | None = None, note: str | None = None) -> Record:
    return Record(at="-", task=name, event=event, run="r", outcome=outcome, note=note)


def chosen(*tasks: Task, journal: tuple[Record, ...] = ()) -> str | None:
    found = next_task(tasks, {one.task: one for one in journal})
    return found and found.name


def test_the_most_urgent_comes_first_and_then_the_order_of_the_list():
    assert chosen(task("a"), task("b", priority="high"), task("c", priority="high")) == "b"
    assert chosen(task("a", priority="low"), task("b"), task("c")) == "b"
    assert chosen(task("a", priority="high"), task("b", priority="urgent")) == "b"
    assert chosen() is None


@pytest.mark.parametrize("status", ["in_progress", "completed", "failed", "blocked", "unknown"])
def test_only_a_pending_task_is_taken(status):
    assert chosen(task("a", status=status)) is None
    assert chosen(task("a")) == "a"


def test_what_a_task_needs_comes_before_it_however_urgent_it_is():
    needy = task("a", priority="urgent", needs=["b"])
    assert chosen(needy, task("b")) == "b"
    assert chosen(needy, task("b", status="completed")) == "a"
    assert chosen(needy, task("b", status="failed")) is None


@pytest.mark.parametrize(
    ("event", "outcome", "again"),
    [
        ("begun", None, False),
        ("ended", "completed", False),
        ("ended", "failed", False),
        ("ended", "unknown", False),
        ("ended", "pending", True),
        ("intended", None, True),
        ("resolved", "pending", True),
        ("resolved", "completed", False),
    ],
)
def test_what_was_done_is_not_taken_again_though_the_list_says_pending(event, outcome, again):
    assert chosen(task("a"), journal=(record("a", event, outcome),)) == ("a" if again else None)


def test_the_list_is_set_to_what_the_journal_says():
    tasks = [task("a"), task("b", status="in_progress"), task("c", status="blocked"), task("d")]
    journal = {
        "a": record("a", "ended", "completed", "fine"),
        "b": record("b", "intended"),
        "c": record("c", "resolved", "pending", "as a person said"),
        "e": record("e", "begun"),
    }
    assert corrections(tasks, journal) == {
        "a": {"status": "completed", "note": "fine"},
        "b": {"status": "pending"},
    }


def test_tasks_that_wait_for_ever_are_named_with_what_they_wait_for():
    tasks = [
        task("a", needs=["b"]), task("b", needs=["c"]), task("c", status="failed"),
        task("d", needs=["e"]), task("e"),
    ]  # fmt: skip
    assert held_back(tasks, {}) == {"a": ["b"], "b": ["c"]}


LIMITS = Limits(max_tasks=3, max_wall_s=60, max_errors=2, max_tokens=1000)


@pytest.mark.parametrize(
    ("progress", "wanted"),
    [
        ({"tasks": 2, "elapsed_s": 59.9, "errors": 1, "tokens": 999}, None),
        ({"tasks": 3}, Stop.MAX_TASKS),
        ({"elapsed_s": 60}, Stop.MAX_WALL_TIME),
        ({"errors": 2}, Stop.MAX_ERRORS),
        ({"tokens": 1000}, Stop.MAX_TOKENS),
    ],
)
def test_each_limit_ends_a_run_and_nothing_else_does(progress, wanted):
    assert why_stop(LIMITS, Progress(**progress)) is wanted


def test_without_a_budget_tokens_end_no_run():
    assert why_stop(Limits(max_tokens=None), Progress(tokens=10**12)) is None
