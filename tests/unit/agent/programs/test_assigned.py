"""A task of the task loop for the builtin program: what it reads, and what it tells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from as_nobody import hiding_place
from gosutos import document
from scripted_model import ScriptedModel, Turn, scripted

from agency.agent.models.conversation import ToolCall
from agency.agent.programs import builtin
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

    @property
    def told(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.files.result.read_text())
        return found


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


NOTHING = Turn(calls=(ToolCall("c", "nothing", "{}"),))  # a tool that is not there
SPENT, GARBAGE = Turn(status=402, text="spent"), Turn(fault="garbage")
LATER = Turn(status=429, headers={"Retry-After": "99"})


@pytest.mark.parametrize(
    ("turns", "why", "note"),
    [
        ([SPENT], "budget", "budget: HTTP 402: spent"),
        ([GARBAGE] * 2, "errors", "errors: 2 calls of the model in a row without an answer: "),
        ([LATER] * 2, "errors", "errors: 2 calls of the model in a row without an answer: "),
        ([GARBAGE, SPENT], "budget", "budget: HTTP 402: spent"),
    ],
)
async def test_a_task_that_no_model_answers_is_paused_and_goes_on(
    desk: Desk, turns: list[Turn], why: str, note: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As often as it is begun again, and with what it has done."""
    monkeypatch.setattr(builtin, "_SETTLE_S", 0)  # the tool that was called is never there
    async with scripted(NOTHING, *turns, *turns, Turn("mended")) as model:
        worked = await desk.does(model, errors=2)
        assert (worked.end.paused, desk.told["paused"], desk.told["tokens"]) == (True, why, 19)
        assert str(desk.told["note"]).startswith(note)
        await desk.does(model, errors=2)
        assert (desk.told["paused"], desk.told["tokens"]) == (why, 0)
        worked = await desk.does(model, errors=2)
        assert (worked.end, desk.told) == (
            Finish(Ending.ANSWERED, "mended"),
            {"note": "mended", "tokens": 19},
        )
        assert "no tool of this name" in str(model.asked[-1].body["messages"][-1])


@pytest.mark.parametrize(
    ("turns", "ending"),
    [
        ([NOTHING] * 9, Ending.ERRORS),
        ([GARBAGE, NOTHING] * 9, Ending.ERRORS),  # each of its calls fails, whoever answers
        ([GARBAGE, Turn(status=403)], Ending.REFUSED),
        ([GARBAGE, Turn("mended")], Ending.ANSWERED),
    ],
)
async def test_what_fails_by_itself_is_not_paused(
    desk: Desk, turns: list[Turn], ending: Ending
) -> None:
    async with scripted(*turns) as model:
        worked = await desk.does(model, errors=2)
    assert (worked.end.ending, worked.end.paused, "paused" in desk.told) == (ending, False, False)


async def test_a_run_that_ends_while_no_model_answers_pauses_its_task(desk: Desk) -> None:
    async with scripted(GARBAGE, Turn(fault="slow")) as model:
        worked = await desk.does(model, timeout_s=6)
    assert (worked.end.ending, desk.told["paused"]) == (Ending.ERRORS, "errors")


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
