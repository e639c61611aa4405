"""A task of the task loop for the builtin program: what it reads, and what it tells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gosutos import document
from scripted_model import ScriptedModel, Turn, scripted

from agency.agent.programs.assigned import (
    MAX_NOTE,
    MODEL_TOKEN,
    Given,
    Handed,
    handed,
    result_of,
    task_text,
    work_assigned,
)
from agency.agent.programs.builtin import AgentAwayError
from agency.agent.programs.journal import Journal
from agency.agent.programs.steps import Ending, Finish, ModelFailed, Started
from agency.agent.programs.tools import NoTools
from agency.agent.programs.work import WorkConfig, Worked, work
from agency.clock import Clock
from agency.errors import AgencyError, PrerequisiteError, UsageError
from agency.gosuto import canonical
from agency.workspace.tasks.performer import _Result


def given(**more: object) -> Given:
    told = {"name": "mend", "description": "Mend it.", "run": "task-1", "timeout_s": 60, **more}
    return Given.model_validate(told)


def test_the_files_of_the_task_are_those_that_the_loop_names() -> None:
    found = handed({"AGENCY_TASK": "/r/task.json", "AGENCY_TASK_RESULT": "/r/result.json"})
    assert (found.task, found.result) == (Path("/r/task.json"), Path("/r/result.json"))
    for wrong in ({}, {"AGENCY_TASK": "/r/task.json"}, {"AGENCY_TASK_RESULT": "/r/result.json"}):
        with pytest.raises(UsageError, match="no task is assigned"):
            handed(wrong)


def test_the_program_reads_task_source_and_known_issues() -> None:
    text = task_text(given(source="https://git.example/7", context="Known: it is on fire."))
    assert "mend" in text
    assert "https://git.example/7" in text
    assert text.index("Mend it.") < text.index("Known: it is on fire.")
    assert "came from" not in task_text(given())


@pytest.mark.parametrize("ending", list(Ending))
def test_what_came_of_it_is_a_line_that_the_loop_takes(ending: Ending) -> None:
    told = result_of(Worked(Finish(ending, "It is\n mended. " + "x" * 9999), 38))
    note = str(told["note"])
    assert len(note) <= MAX_NOTE
    assert "\n" not in note
    assert note.startswith("It is mended." if ending is Ending.ANSWERED else f"{ending.value}: ")
    assert _Result.model_validate_json(json.dumps(told)).tokens == 38


def test_half_a_character_is_no_end_of_a_task() -> None:
    told = result_of(Worked(Finish(Ending.ANSWERED, "mended \ud83d\ude00 \ud83d."), 1))
    assert told["note"] == "mended 😀 \ufffd."


async def test_without_a_journal_nothing_is_worked_on(tmp_path: Path) -> None:
    told = {"gosuto": str(tmp_path / "none"), "model": {"url": "http://127.0.0.1:1"}}
    with pytest.raises(PrerequisiteError, match="no journal"):
        await work(WorkConfig.model_validate_json(json.dumps(told)), "Do it.", NoTools(), Clock())


@pytest.mark.parametrize("policy", [None, b"no Gosuto"])
async def test_a_task_waits_for_an_agent_that_was_given_no_policy_yet(
    policy: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: one that cannot be read is for a person, and the task has failed."""
    gosuto, config = tmp_path / "gosuto.json", tmp_path / "work.json"
    if policy is not None:
        gosuto.write_bytes(policy)
    config.write_text(json.dumps({"gosuto": str(gosuto), "model": {"url": "http://127.0.0.1:1"}}))
    files = Handed(tmp_path / "task.json", tmp_path / "result.json")
    files.task.write_text(given().model_dump_json())
    (tmp_path / MODEL_TOKEN).write_text("token-of-the-agent")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(AgencyError) as caught:
        await work_assigned(config, files, Clock())
    assert isinstance(caught.value, AgentAwayError) is (policy is None)
    assert files.result.exists() is (policy is None)
    if policy is None:
        told = json.loads(files.result.read_text())
        assert told == {"note": "the agent has no Gosuto yet", "away": True}


class Desk:
    """What a start of the agent and the task loop hand over; `does` makes one process of a task."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.config = tmp_path / "work.json"
        self.gosuto = tmp_path / "gosuto.json"
        self.gosuto.write_bytes(canonical(document({}, persona={"model": "m"})))
        (tmp_path / MODEL_TOKEN).write_text("token-of-the-agent")
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
        run = tmp_path / "run"
        run.mkdir()
        self.files, self.journal = Handed(run / "task.json", run / "result.json"), run / "journal"

    async def does(self, model: ScriptedModel, timeout_s: float = 60, **more: object) -> Worked:
        told = {"gosuto": str(self.gosuto), "model": {"url": model.url}, **more}
        self.config.write_text(json.dumps(told))
        self.files.task.write_text(given(timeout_s=timeout_s).model_dump_json())
        return await work_assigned(self.config, self.files, Clock())


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("timeout_s", "wall_s", "ending", "asked"),
    [
        (1600, 3600, Ending.ANSWERED, 1),  # longer before than this run of the loop lasts
        (1600, 1900, Ending.TIME, 0),  # all that a task may take is used up
        (6, 3600, Ending.TIME, 1),  # this run of the loop ends
    ],
)
async def test_a_paused_task_has_the_time_of_the_run_that_goes_on_with_it(
    desk: Desk, timeout_s: float, wall_s: float, ending: Ending, asked: int
) -> None:
    with Journal(desk.journal) as journal:
        journal.append(Started("Mend it."), 0.0)
        journal.append(ModelFailed("away"), 2000.0)
    async with scripted(Turn("mended", fault="slow" if timeout_s == 6 else None)) as model:
        worked = await desk.does(model, timeout_s, wallS=wall_s)
        assert (worked.end.ending, len(model.asked)) == (ending, asked)
