"""What comes into the list: once, within bounds, as data."""

import json
import stat
from datetime import UTC, datetime

import pytest
from task_places import Counting, Moment, loop_in, place_in, states

from agency.errors import BadInputError, PrerequisiteError
from agency.workspace.tasks import intake
from agency.workspace.tasks.intake import Wish, Wishes, take, take_due
from agency.workspace.tasks.model import Task
from agency.workspace.tasks.performer import Performed
from agency.workspace.tasks.place import FullError
from agency.workspace.tasks.wishing import take_wishes, wishes_file


def wish(name: str, **more) -> Wish:
    told = {"description": "x", "source": "test", "source_ref": f"test:{name}", **more}
    return Wish(name=name, **told)


async def test_a_wish_is_taken_once_also_after_its_task_is_gone(tmp_path):
    place = place_in(tmp_path)
    assert take(place, [wish("a"), wish("a")]).added == ("a",)
    await loop_in(place, Counting()).run()
    place.sheet_path.write_text("tasks: []\n")
    assert take(place, [wish("a"), wish("b")]).added == ("b",)


def test_a_task_that_was_renamed_is_known_by_its_reference(tmp_path):
    place = place_in(tmp_path)
    take(place, [wish("a")])
    text = place.sheet_path.read_text()
    place.sheet_path.write_text(text.replace('name: "a"', 'name: "my-own"'))
    assert take(place, [wish("a")]).added == ()


def test_a_full_list_refuses_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(intake, "MOST_TASKS", 2)
    place = place_in(tmp_path, "a")
    taken = take(place, [wish("b"), wish("c")])
    assert taken.added == ("b",)
    assert taken.refused == ("c: TASKS.yaml is full; remove what is done",)
    place.change_tasks({})
    assert states(place) == {"a": "pending", "b": "pending"}


def test_a_list_without_room_for_a_text_refuses_that_text_alone(tmp_path):
    """At its real size: 1 MiB is far from 1000 tasks, and what is done stays in the list."""
    place = place_in(tmp_path, "waits")
    done = "".join(
        f'  - {{name: done-{n}, status: completed, description: "{"x" * 7950}"}}\n'
        for n in range(125)
    )
    place.sheet_path.write_text(place.sheet_path.read_text() + done)
    long = [wish(f"long-{n}", description="x" * 7900) for n in range(6)]
    taken = take(place, [*long, wish("short")])
    assert taken.added == ("long-0", "short")
    assert taken.refused == tuple(
        f"long-{n}: TASKS.yaml has no room for it; remove what is done" for n in range(1, 6)
    )
    place.change_tasks({"waits": {"status": "in_progress"}})
    found = states(place)
    assert (found["waits"], found["short"]) == ("in_progress", "pending")


async def test_a_note_without_room_in_the_list_is_in_the_journal(tmp_path, monkeypatch):
    place = place_in(tmp_path, "a")
    told = Counting(lambda _: Performed("completed", "n" * 400))
    size = place.sheet_path.stat().st_size
    monkeypatch.setattr("agency.workspace.tasks.place.MAX_BYTES", size + 100)
    assert (await loop_in(place, told).run()).ok
    (task,) = place.read_tasks()
    assert (task.status, task.note) == ("completed", None)
    assert place.journal.read()["a"].note == "n" * 400
    with pytest.raises(FullError, match="would be larger"):
        place.change_tasks({}, (Task(name="b", description="x" * 100),))
    monkeypatch.undo()
    await loop_in(place, told).run()
    assert place.read_tasks()[0].note == "n" * 400
    assert told.performed == ["a"]


def test_a_crash_between_the_list_and_the_mark_makes_nothing_twice(tmp_path, monkeypatch):
    moment = Moment(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
    place = place_in(tmp_path, clock=moment.clock())
    schedules = place.workspace / "SCHEDULES.yaml"
    schedules.write_text('schedules:\n- {name: tick, cron: "0 * * * *", description: Tick.}\n')
    assert take_due(place).added == ()
    moment.wall += 3600
    with monkeypatch.context() as patched:
        patched.setattr(type(place), "write_marks", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            take_due(place)
    assert take_due(place).added == ()
    assert list(states(place)) == ["tick-20260101-0100"]
    moment.wall += 3 * 3600
    taken = take_due(place)
    assert (taken.added, taken.passed_over) == (("tick-20260101-0400",), 2)


def test_wishes_come_from_a_file_or_the_units_credentials(tmp_path, monkeypatch):
    place = place_in(tmp_path)
    file = tmp_path / "wishes.json"
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert wishes_file() is None
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert wishes_file() is None
    file.write_text("")
    assert take_wishes(place, file).added == ()
    file.write_text(Wishes(wishes=[wish("a")]).model_dump_json())
    assert take_wishes(place, wishes_file()).added == ("a",)
    told = json.loads(file.read_text())
    told["wishes"][0]["shell"] = "true"
    file.write_text(json.dumps(told))
    with pytest.raises(BadInputError, match="shell"):
        take_wishes(place, file)


def test_state_is_the_agents_own(tmp_path):
    place = place_in(tmp_path)
    take(place, [wish("a")])
    assert stat.S_IMODE(place.state.stat().st_mode) == 0o700
    assert place.state.parent != place.workspace


def test_a_journal_that_others_may_write_is_not_used(tmp_path):
    place = place_in(tmp_path)
    place.state.mkdir(mode=0o700)
    place.state.chmod(0o777)
    with pytest.raises(PrerequisiteError, match="runuser -u agent-NAME"):
        take(place, [wish("a")])
    place.state.chmod(0o700)
    assert take(place, [wish("a")]).added == ("a",)


@pytest.mark.parametrize(
    ("one", "other"), [("a/b-c", "a-b/c"), ("a/b.c", "a/b-c"), ("A/b", "a/b"), ("a/b", "a/b/c")]
)
def test_issues_of_two_projects_never_share_a_name(one, other):
    assert intake._slug(one) != intake._slug(other)
    for path in (one, other, "x" * 200 + "/y"):
        assert len(f"issue-{intake._slug(path)}-123456789") <= 80
