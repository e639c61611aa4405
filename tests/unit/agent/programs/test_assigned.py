"""A task of the task loop for the builtin program: what it reads, and what it tells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from as_nobody import hiding_place

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
from agency.agent.programs.steps import Ending, Finish
from agency.agent.programs.tools import NoTools
from agency.agent.programs.work import WorkConfig, Worked, work
from agency.clock import Clock
from agency.errors import AgencyError, PrerequisiteError, UsageError
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


@pytest.mark.parametrize("hidden", [None, "policy", "config"])
async def test_what_is_hidden_from_its_user_is_told_and_is_no_defect(
    hidden: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: with nothing hidden there is no Gosuto yet, and the task waits for it."""
    with hiding_place() as place:
        for name in ("policy", "config"):
            (place / name).mkdir()
        gosuto, config = place / "policy/gosuto.json", place / "config/work.json"
        told = {"gosuto": str(gosuto), "model": {"url": "http://127.0.0.1:1"}}
        config.write_text(json.dumps(told))
        files = Handed(place / "task.json", place / "result.json")
        files.task.write_text(given().model_dump_json())
        (place / MODEL_TOKEN).write_text("token-of-the-agent")
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(place))
        if hidden is not None:
            (place / hidden).chmod(0)
        with pytest.raises(PrerequisiteError) as caught:
            await work_assigned(config, files, Clock())
        told_away = files.result.exists()
    assert isinstance(caught.value, AgentAwayError) is (hidden is None)
    assert told_away is (hidden is None), "for a person, and not waited for"
    if hidden is not None:
        assert "Permission denied" in caught.value.message
        assert caught.value.where == str(gosuto if hidden == "policy" else config)
        assert caught.value.hint
