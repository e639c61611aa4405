"""The performer that runs a command: real processes, in a real directory."""

import asyncio
import json
import os
import time
from pathlib import Path

import pytest
from task_places import Moment, place_in

from agency.children import processes_with_marker
from agency.workspace.tasks import performer as module
from agency.workspace.tasks.model import Task
from agency.workspace.tasks.performer import (
    Assignment,
    CommandPerformer,
    NotBegunError,
    PausedError,
    Performed,
    UnansweredError,
)

RUN = "task-0123456789abcdef"


async def performed(directory: Path, script: str, *, timeout_s: float = 20, **more) -> Performed:
    place = place_in(directory)
    command = CommandPerformer(["sh", "-c", script], directory / "state", directory / "home")
    task = Task(name="mend", description="Mend it.\nAll.", priority="high")
    assignment = Assignment(
        task=task, run=RUN, workspace=place.workspace, timeout_s=timeout_s, **more
    )
    try:
        return await command.perform(assignment)
    finally:
        assert not (directory / "state" / "runs" / RUN).exists()
        assert processes_with_marker(RUN) == ()


def log(directory: Path) -> str:
    return (directory / "space" / "logs" / f"task-{RUN}.log").read_text()


async def test_gets_the_task_and_says_what_came_of_it(tmp_path):
    script = (
        'cat "$AGENCY_TASK"; echo "$HOME" >&2; pwd; umask 022; '
        """printf %s '{"note": "It is\\nmended.", "tokens": 7}' > "$AGENCY_TASK_RESULT" """
    )
    found = await performed(tmp_path, script, context="Known: none.", model="small")
    assert found == Performed("completed", "It is mended.", 7)
    told, home, where = log(tmp_path).replace("}", "}\n", 1).splitlines()
    assert json.loads(told) == {
        "name": "mend", "description": "Mend it.\nAll.", "priority": "high", "source": None,
        "run": RUN, "timeout_s": 20, "context": "Known: none.", "model": "small",
    }  # fmt: skip
    assert (home, where) == (str(tmp_path / "home"), str(tmp_path / "space"))


async def test_its_environment_holds_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "geheim")
    await performed(tmp_path, "env")
    names = {line.partition("=")[0] for line in log(tmp_path).splitlines()}
    assert names - {"PWD", "SHLVL", "_", "OLDPWD"} == {
        "PATH", "HOME", "LANG", "AGENCY_TASK", "AGENCY_TASK_RESULT", "AGENCY_RUN",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("script", "note"),
    [
        ("exit 3", "exit status 3"),
        ("kill -9 $$", "ended by signal 9"),
        ("""echo '{"note": "no"}' > "$AGENCY_TASK_RESULT"; exit 1""", "exit status 1: no"),
        ("echo nonsense > $AGENCY_TASK_RESULT", "its result cannot be read: not JSON"),
        ("""echo '{"tokens": -1}' > $AGENCY_TASK_RESULT""", "its result cannot be read: tokens"),
        ("mkfifo $AGENCY_TASK_RESULT", "its result cannot be read"),
        ("mkdir $AGENCY_TASK_RESULT", "its result cannot be read"),
        ("ln -s /dev/zero $AGENCY_TASK_RESULT", "its result cannot be read"),
        ("head -c 3000000 /dev/zero > $AGENCY_TASK_RESULT", "its result cannot be read"),
    ],
)
async def test_a_command_that_fails_or_lies_has_failed(tmp_path, script, note):
    async with asyncio.timeout(15):
        found = await performed(tmp_path, script)
    assert found.outcome == "failed"
    assert found.note.startswith(note)


async def test_its_time_is_up_and_nothing_of_it_runs_on(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_GRACE_S", 0.2)
    began = time.monotonic()
    script = "setsid sh -c 'trap \"\" TERM; sleep 60; true' & trap '' TERM; sleep 60; true"
    found = await performed(tmp_path, script, timeout_s=0.5)
    assert found == Performed("failed", "no end after 0.5 s")
    assert time.monotonic() - began < 15


async def test_what_it_leaves_in_the_background_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_GRACE_S", 0.2)
    assert (await performed(tmp_path, "setsid sleep 60 & exit 0")).outcome == "completed"


async def test_a_command_that_is_not_there_costs_no_task(tmp_path):
    place = place_in(tmp_path)
    task = Task(name="a", description="x")
    assignment = Assignment(task=task, run=RUN, workspace=place.workspace, timeout_s=5)
    command = CommandPerformer(["no-such-program"], tmp_path / "state", tmp_path)
    with pytest.raises(NotBegunError, match="not installed"):
        await command.perform(assignment)
    command = CommandPerformer(["true"], tmp_path / "state", tmp_path)
    (place.workspace / "logs").rmdir()
    (place.workspace / "logs").write_text("a file in the way")
    with pytest.raises(NotBegunError, match="hand over"):
        await command.perform(assignment)
    assert not list((tmp_path / "state" / "runs").iterdir())


async def test_a_file_without_end_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_BOUNDS", module.Bounds(file_bytes=100_000))
    found = await performed(tmp_path, "yes; exit 1")
    assert found.outcome == "failed"
    assert len(log(tmp_path)) <= 100_000


async def test_old_logs_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("agency.workspace.logs.MOST_LOGS", 2)
    logs = place_in(tmp_path).workspace / "logs"
    logs.mkdir()
    for number in range(3):
        (logs / f"task-{number}.log").write_text("")
        os.utime(logs / f"task-{number}.log", (number, number))
    (logs / "mine.log").write_text("")
    await performed(tmp_path, "true")
    assert {path.name for path in logs.iterdir()} == {"mine.log", "task-2.log", f"task-{RUN}.log"}


AWAY = (
    'n=$(cat "{count}" 2>/dev/null || echo 0); echo $((n + 1)) > "{count}"; '
    'mkdir -p "{seen}"; cp "$AGENCY_TASK" "{seen}/$n"; '
    'touch "$(dirname "$AGENCY_TASK")/journal-$n"; ls "$(dirname "$AGENCY_TASK")"; '
    """if [ "$n" -lt {times} ]; then printf %s '{{"note": "gone", "tokens": 3, "away": true}}' """
    """> "$AGENCY_TASK_RESULT"; exit 3; fi; printf %s '{{"note": "here", "tokens": 4}}' """
    '> "$AGENCY_TASK_RESULT"'
)


async def test_while_its_agent_is_away_the_same_run_is_tried_again(tmp_path):
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    place = place_in(tmp_path)
    script = AWAY.format(count=tmp_path / "count", seen=tmp_path / "seen", times=2)
    command = CommandPerformer(
        ["sh", "-c", script], tmp_path / "state", tmp_path / "home", sleep=sleep
    )
    assignment = Assignment(
        task=Task(name="mend", description="x"), run=RUN, workspace=place.workspace, timeout_s=60
    )
    assert await command.perform(assignment) == Performed("completed", "here", 3 + 3 + 4)
    assert len(waits) == 2
    runs = {json.loads(each.read_text())["run"] for each in (tmp_path / "seen").iterdir()}
    assert runs == {RUN}
    assert log(tmp_path).split().count("journal-0") == 3, "what it wrote of its work is there again"
    assert not (tmp_path / "state" / "runs" / RUN).exists()


async def test_what_is_away_for_too_long_is_paused_and_its_run_is_kept(tmp_path):
    async def sleep(_):
        pass

    place = place_in(tmp_path)
    script = AWAY.format(count=tmp_path / "count", seen=tmp_path / "seen", times=4)
    command = CommandPerformer(
        ["sh", "-c", script], tmp_path / "state", tmp_path / "home", away_s=4, sleep=sleep
    )
    assignment = Assignment(
        task=Task(name="mend", description="x"), run=RUN, workspace=place.workspace, timeout_s=60
    )
    with pytest.raises(PausedError, match="mend waits for it: gone"):
        await command.perform(assignment)
    assert (tmp_path / "count").read_text() == "3\n"
    assert (tmp_path / "state" / "runs" / RUN / "journal-0").exists()
    assert await command.perform(assignment) == Performed("completed", "here", 7)
    assert "journal-0" in log(tmp_path).split()[-6:]


class Unanswered:
    """A task whose command says each time what `result` is, with exit status 1."""

    def __init__(self, directory: Path) -> None:
        self.moment, self.directory, self.times = Moment(), directory, 0
        self.run = directory / "state" / "runs" / RUN
        script = f'echo >> "{directory}/count"; cp "{directory}/said" "$AGENCY_TASK_RESULT"; exit 1'
        self.command = CommandPerformer(
            ["sh", "-c", script], directory / "state", directory, clock=self.moment.clock()
        )
        self.assignment = Assignment(
            task=Task(name="mend", description="x"),
            run=RUN,
            workspace=place_in(directory).workspace,
            timeout_s=60,
        )

    async def paused(self, **result: object) -> bool:
        """Tell whether the task is paused; else it has failed."""
        self.times += 1
        (self.directory / "said").write_text(json.dumps({"note": "why", **result}))
        try:
            found = await self.command.perform(self.assignment)
        except UnansweredError as error:
            return (error.why, error.message) == (result["paused"], "why")
        finally:
            assert len((self.directory / "count").read_text()) == self.times, "it is begun once"
        assert found.outcome == "failed"
        assert found.note.endswith("without an answer: why")
        return False


async def test_what_no_model_answers_is_paused_so_often_in_a_row_and_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_RUNS", 3)
    task = Unanswered(tmp_path)
    assert [await task.paused(paused="errors") for _ in range(3)] == [True] * 3
    assert (task.run / "task.json").exists()
    assert await task.paused(paused="errors", tokens=1), "it was answered meanwhile"
    assert [await task.paused(paused="errors") for _ in range(3)] == [True, True, False]
    assert not task.run.exists()
    assert await task.paused(paused="errors"), "a person let it run again"


async def test_without_budget_days_count_and_not_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_RUNS", 3)
    monkeypatch.setattr(module, "MOST_DAYS", 2)
    task = Unanswered(tmp_path)
    for _ in range(2):
        assert [await task.paused(paused="budget") for _ in range(4)] == [True] * 4
        task.moment.wall += 86_400
    assert not await task.paused(paused="budget")


async def test_a_count_of_pauses_that_is_damaged_or_cannot_be_kept_pauses_all_the_same(tmp_path):
    task = Unanswered(tmp_path)
    assert await task.paused(paused="errors")
    (task.run / "pauses.json").write_text("{")
    assert await task.paused(paused="errors")
    (task.run / "pauses.json").unlink()
    (task.run / "pauses.json").mkdir()
    assert await task.paused(paused="errors")


async def test_what_is_done_was_not_paused(tmp_path):
    script = """echo '{"note": "done", "paused": "budget"}' > "$AGENCY_TASK_RESULT" """
    assert await performed(tmp_path, script) == Performed("completed", "done")
