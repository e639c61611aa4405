"""The commands as units and people call them: real processes, killed for real."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from task_places import place_in, states

from agency.children import processes_with_marker
from agency.workspace.tasks.place import TaskPlace

COUNT = 'echo "$AGENCY_TASK" >> ran; '


class Agent:
    """An agent `pm` with a workspace, and the settings that Nix writes for it."""

    def __init__(self, directory: Path, *tasks: str) -> None:
        self.directory = directory
        self.place: TaskPlace = place_in(directory, *tasks)
        self.does("true")

    def does(self, script: str, **more: object) -> None:
        loop = {
            "maxTasks": 5, "maxWallTime": 60, "maxErrors": 3,
            "command": ["sh", "-c", COUNT + script], **more,
        }  # fmt: skip
        told = {"name": "pm", "role": "pm", "home": str(self.directory), "taskLoop": loop}
        (self.directory / "pm.json").write_text(json.dumps(told))

    def argv(self, command: str, *words: str) -> list[str]:
        place = ["--workspace", str(self.place.workspace)]
        place += [] if words[:1] == ("check",) else ["--state", str(self.place.state)]
        named = ["pm", "--settings", str(self.directory)] if command != "tasks" else []
        first, rest = words[:1], words[1:]
        tail = [*first, *named, *rest, *place, "--json"]
        return [sys.executable, "-m", "agency", "workspace", command, *tail]

    def start(self, command: str, *words: str) -> subprocess.Popen:
        return subprocess.Popen(
            self.argv(command, *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, command: str, *words: str, status: int = 0) -> dict:
        process = self.start(command, *words)
        out, err = process.communicate(timeout=60)
        assert process.returncode == status, out + err
        return json.loads(out) if out else {"error": err}

    @property
    def times(self) -> int:
        file = self.place.workspace / "ran"
        return len(file.read_text().splitlines()) if file.exists() else 0


def wait_for(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_adds_does_and_lists_a_task(tmp_path):
    agent = Agent(tmp_path)
    agent.run("tasks", "add", "mend", "Mend it.", "--priority", "high")
    agent.run("tasks", "add", "mend", "Again.", status=2)
    agent.run("tasks", "add", "more", "x", "--needs", "gone", status=1)
    report = agent.run("task-loop")
    assert [one["task"] for one in report["done"]] == ["mend"]
    listed = agent.run("tasks", "list")["tasks"]
    assert [(one["name"], one["status"]) for one in listed] == [("mend", "completed")]
    assert (agent.times, agent.run("tasks", "check")["tasks"]) == (1, 1)


def test_killed_in_the_midst_of_a_task_it_is_not_done_again_unless_a_person_says(tmp_path):
    agent = Agent(tmp_path, "a", "b")
    agent.does("[ -e quick ] || sleep 60")
    process = agent.start("task-loop")
    wait_for(lambda: agent.times == 1)
    run = agent.place.journal.read()["a"].run
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    (agent.place.workspace / "quick").touch()
    report = agent.run("task-loop", status=1)
    assert processes_with_marker(run) == ()
    assert report["unknown"] == ["a"]
    assert states(agent.place) == {"a": "unknown", "b": "completed"}
    assert agent.times == 2
    agent.run("tasks", "resolve", "a", "--as", "pending")
    assert agent.run("task-loop")["ok"]
    assert agent.times == 3
    assert set(states(agent.place).values()) == {"completed"}


def test_stopped_by_a_signal_it_ends_the_task_and_says_that_its_outcome_is_unknown(tmp_path):
    agent = Agent(tmp_path, "a")
    agent.does("sleep 60")
    process = agent.start("task-loop")
    wait_for(lambda: agent.times == 1)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=40)
    assert process.returncode == 1, out + err
    assert "outcome of the task at hand is unknown" in out + err
    assert states(agent.place) == {"a": "unknown"}


@pytest.mark.parametrize(("why", "status"), [("budget", 0), ("errors", 1)])
def test_a_run_that_no_model_answers_says_so(tmp_path, why, status):
    agent = Agent(tmp_path, "a", "b")
    agent.does(f"""echo '{{"note": "why", "paused": "{why}"}}' > $AGENCY_TASK_RESULT; exit 1""")
    report = agent.run("task-loop", status=status)
    assert (report["done"], report["paused"]) == ([], {"a": "why"})
    assert ("budget" in report["stopped"]) is (why == "budget")
    assert states(agent.place) == {"a": "pending", "b": "pending"}


def test_two_loops_at_once(tmp_path):
    agent = Agent(tmp_path, *"abcd")
    agent.does("sleep 0.2")
    processes = [agent.start("task-loop") for _ in range(3)]
    ended = [(process.communicate(timeout=60), process.returncode) for process in processes]
    assert sorted(status for _, status in ended) == [0, 1, 1], ended
    assert agent.times == 4


def test_a_schedule_makes_a_task_once_and_the_loop_does_it(tmp_path):
    agent = Agent(tmp_path)
    schedules = agent.place.workspace / "SCHEDULES.yaml"
    schedules.write_text('schedules:\n- {name: tick, cron: "* * * * *", description: Tick.}\n')
    assert agent.run("schedule")["added"] == []
    marks = agent.place.state / "schedules.json"
    told = json.loads(marks.read_text())
    told["marks"]["tick"]["looked"] = "2026-01-01T00:00:00Z"
    marks.write_text(json.dumps(told))
    report = agent.run("task-loop")
    assert len(report["done"]) == 1
    told = agent.run("schedule")
    assert len(told["added"]) <= 1  # a minute may have passed


def test_schedules_that_cannot_be_read_are_told_and_keep_no_task_waiting(tmp_path):
    agent = Agent(tmp_path, "a")
    (agent.place.workspace / "SCHEDULES.yaml").write_text("schedules: [{name: tick}]\n")
    process = agent.start("task-loop")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    assert [one["task"] for one in json.loads(out)["done"]] == ["a"]
    assert "what is due did not come into the list" in err
    assert "SCHEDULES.yaml" in err
    assert "cron: is missing" in json.dumps(agent.run("schedule", status=1))


@pytest.mark.parametrize(
    ("change", "status", "wanted"),
    [
        ({"command": []}, 3, "nothing does tasks"),
        ({"maxTasks": 0}, 1, "maxTasks"),
        ({"unknownKey": 1}, 1, "unknownKey"),
    ],
)
def test_settings_that_are_wrong_or_missing_are_told(tmp_path, change, status, wanted):
    agent = Agent(tmp_path, "a")
    agent.does("true", **change)
    assert wanted in json.dumps(agent.run("task-loop", status=status))
    assert agent.times == 0


def test_a_feature_that_is_off_and_a_name_that_is_none_are_told(tmp_path):
    agent = Agent(tmp_path)
    (tmp_path / "pm.json").write_text(json.dumps({"name": "pm", "role": "pm", "home": "/x"}))
    assert "agency.agents.pm.taskLoop" in json.dumps(agent.run("task-loop", status=3))
    assert "agency.agents.pm.taskLoop" in json.dumps(agent.run("schedule", status=3))
    argv = [sys.executable, "-m", "agency", "workspace", "task-loop", "../../etc/x"]
    assert subprocess.run(argv, capture_output=True).returncode == 2


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_full_disk_ends_the_run_and_loses_no_task(tmp_path):
    """A real file system without room: in a mount namespace of its own."""
    agent = Agent(tmp_path, "a", "b")
    agent.place.state.mkdir(mode=0o700)
    quoted = " ".join(f"'{word}'" for word in agent.argv("task-loop"))
    script = f"""
        mount -t tmpfs -o size=64k,mode=700 none {agent.place.state} || exit 77
        dd if=/dev/zero of={agent.place.state}/fill bs=4k 2>/dev/null
        {quoted}; status=$?
        rm {agent.place.state}/fill
        {quoted} || exit 1
        exit $status
    """
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=60
    )
    if done.returncode == 77:
        pytest.skip("this machine lets nobody mount")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "No space left" in done.stdout + done.stderr
    assert states(agent.place) == {"a": "completed", "b": "completed"}
    assert agent.times == 2
