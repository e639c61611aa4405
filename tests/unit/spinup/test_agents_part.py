"""Part `agents`: whom it gives a program, the scripted model, and the tools of the task."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from agency.gosuto import read_document
from agency.spinup.targets.incus.parts.agents import knocking, scripted, tools
from agency.spinup.targets.incus.parts.agents.part import AgentsPart
from agency.spinup.targets.incus.parts.agents.task import policy

ROOM, ALICE = "!room:agency.example", "@alice:agency.example"
HAS_GIT = shutil.which("git", path="/usr/bin") is not None


def test_one_developer_has_a_program_and_nobody_else() -> None:
    elsewhere = {"model": "large", "budget": {"tokensPerDay": 1, "usdPerDay": 1}}
    document: dict[str, Any] = {
        "agents": {"pm": {"role": "pm", "program": elsewhere}, "ada": {"role": "developer"}},
        "models": {"providers": {"claude": {"kind": "anthropic", "url": "https://api.example"}}},
    }
    AgentsPart().adapt(document)
    assert "program" not in document["agents"]["pm"]
    assert document["agents"]["ada"]["program"]["model"] == scripted.MODEL
    assert list(document["models"]["providers"]) == [scripted.MODEL], "no run asks a real one"
    alone: dict[str, Any] = {"agents": {"pm": {"role": "pm"}}}
    AgentsPart().adapt(alone)
    assert sorted(alone["agents"]) == ["developer", "pm"]


def test_the_model_goes_on_by_what_its_calls_returned() -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "do it"}]
    for turn in scripted.SCRIPT[:-1]:
        assert scripted.next_turn(messages) == turn
        after = scripted.SCRIPT[scripted.SCRIPT.index(turn) + 1]
        messages.append({"role": "tool", "content": f"<<data>> {after.needs} <</data>>"})
    assert scripted.next_turn(messages).text == scripted.ANSWER
    messages[1] = {"role": "tool", "content": "nothing"}
    stopped = scripted.next_turn(messages[:2])
    assert (stopped.tool, "I stop" in stopped.text) == ("", True)


def test_both_forms_of_an_answer_say_the_same() -> None:
    turn = scripted.SCRIPT[0]
    whole = scripted.whole_of(turn, 1, "m")["choices"][0]["message"]["tool_calls"][0]
    streamed = [
        call
        for event in scripted.events_of(turn, 1, "m")
        for choice in event["choices"]
        for call in choice["delta"].get("tool_calls", [])
    ]
    assert [{k: v for k, v in call.items() if k != "index"} for call in streamed] == [whole]


def test_the_gosuto_is_one_and_denies_the_push() -> None:
    written = yaml.safe_dump(policy("ada", ROOM, ALICE, "/home/agent-ada")).encode()
    document = read_document("g.yaml", written)
    answers = {rule.tool: str(rule.answer) for rule in document.capabilities.values()}
    assert answers["work/push"] == "deny"
    assert set(answers) == {f"work/{name}" for name in ("test", "write", "branch", "push")}


@pytest.mark.skipif(not HAS_GIT, reason="git is not installed")
def test_the_tools_mend_a_repository_whose_test_fails(tmp_path: Path) -> None:
    home = tmp_path / "agent-ada"
    home.mkdir()
    tools.prepare(home)
    place = home / tools.REPOSITORY
    assert "FAILED" in tools.call(place, "test", {})
    with pytest.raises(ValueError, match="no file of the repository"):
        tools.call(place, "write", {"path": "../out.py", "text": ""})
    assert not (home / "out.py").exists()
    fixed = {"path": "calculator.py", "text": scripted.FIXED}
    assert "written" in tools.call(place, "write", fixed)
    assert tools.call(place, "test", {}).rstrip().endswith("OK")
    said = tools.call(place, "branch", {"slug": scripted.BRANCH, "message": "calculator: add"})
    assert said == f"committed on agent-ada/{scripted.BRANCH}"


def test_a_knock_tells_what_came_of_it(tmp_path: Path) -> None:
    file = tmp_path / "there"
    file.write_text("text")
    assert knocking.knock({"read": str(file)}) == {"outcome": "read", "bytes": 4}
    gone = knocking.knock({"read": str(tmp_path / "gone")})
    assert gone == {"outcome": "refused", "reason": "FileNotFoundError"}
    assert knocking.knock({"socket": str(tmp_path / "no.sock")})["outcome"] == "refused"
    assert json.dumps(gone)
