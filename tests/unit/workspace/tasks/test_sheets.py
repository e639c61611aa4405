"""TASKS.yaml and SCHEDULES.yaml: what is refused, with its line, and what a change keeps."""

import pytest
from task_places import place_in

from agency.errors import AgencyError, BadInputError, PrerequisiteError
from agency.workspace.sheets import SheetError, parse_sheet
from agency.workspace.tasks.model import (
    SCHEDULE_EXAMPLES,
    TASK_EXAMPLES,
    Schedules,
    Task,
    Tasks,
    schedule_rules,
    task_rules,
)


def faults(text: str) -> list[str]:
    with pytest.raises(SheetError) as caught:
        parse_sheet("TASKS.yaml", text.encode(), Tasks, task_rules, TASK_EXAMPLES)
    return [str(problem) for problem in caught.value.problems]


def test_a_whole_task_is_read_and_what_is_left_out_has_its_default():
    text = """\
tasks:
  - name: mend-it
    description: |
      Mend it.
      All of it.
    status: blocked
    priority: urgent
    needs: [other]
    source: issue team/app#1
    source_ref: issue:team/app#1
    note: waits for the key
  - {name: other, description: first}
"""
    found = parse_sheet("t", text.encode(), Tasks, task_rules, TASK_EXAMPLES).tasks
    assert found[0].description == "Mend it.\nAll of it.\n"
    assert (found[1].status, found[1].priority, found[1].needs) == ("pending", "normal", [])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "TASKS.yaml: is empty"),
        ("tasks:\n  - name: a\n", "TASKS.yaml:2: tasks[0].description: is missing"),
        (
            "tasks:\n  - {name: a, description: x}\n  - {name: a, description: y}\n",
            "TASKS.yaml:3: tasks[1].name: 'a' is here twice",
        ),
        ("tasks:\n- name: a\n  description: x\n  stauts: pending\n", 'did you mean "status"?'),
        ("tasks:\n- name: a\n  description: x\n  status: done\n", "TASKS.yaml:4: tasks[0].status"),
        ("tasks:\n- name: a\n  description: x\n  priority: 1\n", "tasks[0].priority"),
        ("tasks:\n- name: 1\n  description: x\n", "must be text, not the number 1"),
        ("tasks:\n- name: A b\n  description: x\n", "tasks[0].name"),
        ("tasks:\n- name: a\n  description: x\n  needs: [b]\n", "there is no task 'b'"),
        ("tasks:\n- name: a\n  description: x\n  needs: [a]\n", "needs itself, in a circle"),
        ("tasks:\n- &a {name: a, description: x}\n- *a\n", "anchor"),
        ("tasks:\n- name: a\n  description: \"x\\u0007\"\n", "tasks[0].description"),
        ("tasks: {}\n", "must be a list"),
        ("more: 1\ntasks: []\n", "is not a known key"),
        ("<<<<<<< HEAD\ntasks: []\n", "merge conflict"),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_its_line(text, wanted):
    assert any(wanted in fault for fault in faults(text)), faults(text)


def test_a_circle_is_told_of_those_in_it_and_not_of_those_who_wait_for_it():
    text = """\
tasks:
  - {name: a, description: x, needs: [b]}
  - {name: b, description: x, needs: [c]}
  - {name: c, description: x, needs: [b]}
"""
    assert [fault.split(": ")[1] for fault in faults(text)] == ["tasks[1].needs", "tasks[2].needs"]


def test_a_list_of_more_than_a_thousand_tasks_is_refused():
    lines = [f"- {{name: t{number}, description: x}}" for number in range(1001)]
    assert faults("tasks:\n" + "\n".join(lines))
    lines.pop()
    text = "tasks:\n" + "\n".join(lines)
    assert parse_sheet("t", text.encode(), Tasks, task_rules, TASK_EXAMPLES)


@pytest.mark.parametrize("cron", ["* * * *", "60 * * * *", "a * * * *", "*/0 * * * *", "@daily"])
def test_a_schedule_that_is_none_is_refused(cron):
    text = f'schedules:\n- {{name: a, description: x, cron: "{cron}"}}\n'
    with pytest.raises(SheetError, match=r"s:2: schedules\[0\]\.cron"):
        parse_sheet("s", text.encode(), Schedules, schedule_rules, SCHEDULE_EXAMPLES)


ODD = """\
# At the top.

tasks:   # the list
# before the first
- name: 'one'      # the first
  description: >-
    Folded
    text.
  priority: high   # soon

  # between
- name: two
  description: "12:30"
# at the end
"""


def test_a_change_keeps_comments_order_and_quotes(tmp_path):
    place = place_in(tmp_path)
    place.sheet_path.write_text(ODD)
    place.change_tasks({"two": {"status": "failed", "note": "exit status 1: no"}})
    new = place.sheet_path.read_text()
    kept = new.replace("  status: failed\n", "").replace('  note: "exit status 1: no"\n', "")
    assert kept.split() == ODD.split()
    assert place.read_tasks()[1].note == "exit status 1: no"


@pytest.mark.parametrize(
    "text", ["yes", "null", "12:30", "1e5", "a: b", "# not a comment", "- x", "ä\nö", "'\"", "{x}"]
)
def test_what_is_added_reads_the_same(tmp_path, text):
    place = place_in(tmp_path)
    need = Task(name="1e5", description="x")
    task = Task(name="null", description=text, needs=["1e5"], source="no", priority="low")
    place.change_tasks({}, (need,))
    assert place.change_tasks({}, (task,)) == [need, task] == place.read_tasks()
    assert place.sheet_path.read_text().startswith("# The list of pm.\n")


def test_a_task_is_added_to_a_list_in_flow_style(tmp_path):
    place = place_in(tmp_path)
    place.sheet_path.write_text("tasks: [{name: a, description: x}]  # short\n")
    place.change_tasks({"a": {"status": "completed"}}, (Task(name="b", description="y, [z]"),))
    assert [task.name for task in place.read_tasks()] == ["a", "b"]


def test_a_broken_list_is_not_changed(tmp_path):
    place = place_in(tmp_path)
    place.sheet_path.write_text("tasks:\n- name: a\n")
    with pytest.raises(SheetError):
        place.change_tasks({}, (Task(name="b", description="y"),))
    assert place.sheet_path.read_text() == "tasks:\n- name: a\n"


def test_a_change_that_would_change_more_is_refused(tmp_path, monkeypatch):
    place = place_in(tmp_path, "a", "b")
    before = place.sheet_path.read_text()
    monkeypatch.setattr(
        "agency.workspace.tasks.place.changed_text",
        lambda content, *_: content.replace(b"Do b.", b"Do c."),
    )
    with pytest.raises(BadInputError, match="without changing more"):
        place.change_tasks({"a": {"status": "failed"}})
    assert place.sheet_path.read_text() == before


def test_a_missing_list_names_what_makes_it(tmp_path):
    place = place_in(tmp_path)
    place.sheet_path.unlink()
    with pytest.raises(PrerequisiteError, match="agent-workspaces"):
        place.read_tasks()
    place.workspace.rename(tmp_path / "away")
    with pytest.raises(AgencyError, match="there is no workspace here"), place.sheet_lock():
        pass
