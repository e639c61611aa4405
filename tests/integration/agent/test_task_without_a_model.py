"""The task loop and the builtin program, each a process, while a model answers nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from gosutos import document
from scripted_model import Turn, scripted
from task_places import place_in, states

from agency.gosuto import canonical
from agency.workspace.tasks.loop import Loop
from agency.workspace.tasks.performer import CommandPerformer
from agency.workspace.tasks.scheduler import Limits, Stop


@pytest.mark.parametrize(
    ("answers", "stop"),
    [
        ([Turn(status=402)], Stop.BUDGET),
        ([Turn(status=503, headers={"Retry-After": "99"})], Stop.UNANSWERED),
    ],
)
async def test_no_task_fails_and_all_are_done_when_it_answers_again(
    tmp_path: Path, answers: list[Turn], stop: Stop
) -> None:
    (tmp_path / "model-token").write_text("token-of-the-agent")
    gosuto, config = tmp_path / "gosuto.json", tmp_path / "work.json"
    gosuto.write_bytes(canonical(document({}, persona={"model": "m"})))
    place = place_in(tmp_path, "a", "b")
    words = ("-I", "-m", "agency", "agent", "work", "--assigned", "--config", str(config))
    credentials = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    performer = CommandPerformer((sys.executable, *words), place.state, tmp_path, credentials)
    async with scripted(*answers, Turn("mended"), Turn("mended, too")) as model:
        config.write_text(
            json.dumps({"gosuto": str(gosuto), "model": {"url": model.url}, "errors": 1})
        )
        silent = await Loop(place, performer, Limits()).run()
        assert (silent.stop, silent.done, list(silent.paused)) == (stop, [], ["a"])
        assert states(place) == {"a": "pending", "b": "pending"}
        report = await Loop(place, performer, Limits()).run()
    found = [(each.task, each.outcome, each.note) for each in report.done]
    assert found == [("a", "completed", "mended"), ("b", "completed", "mended, too")]
    assert not list((place.state / "runs").iterdir())
