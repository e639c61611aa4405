"""`agency agent try`: gateway, MCP server, proxy and policy are real; so is the terminal."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
from background import in_background
from scripted_model import Turn, scripted
from trying import left, make_files, seated, without_terminal

from agency.agent.models.conversation import ToolCall
from agency.gosuto import template_names

MODEL_VALUE = "a-value-that-only-the-proxy-has"


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, ...]:
    policy, script = make_files(tmp_path)
    return (str(policy), f"--script={script}")


def calls_made(place: Path) -> list[list[object]]:
    calls = place / "web" / "calls"
    return [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []


def test_what_the_policy_asks_for_is_asked_on_the_terminal(
    tmp_path: Path, files: tuple[str, ...]
) -> None:
    with seated(tmp_path, *files) as person:
        person.wait_for("\n> ")
        person.type("erase all\n")
        person.wait_for("make this one call? [y/N] ")
        assert calls_made(tmp_path) == []
        for told in ("web/erase", "erase", '{"text": "all"}', "digest"):
            assert told in person.read
        person.type("y\n")
        person.wait_for("done in")
        person.wait_for("trial: The end: all")
        person.wait_for("\n> ")
        person.type("erase more\n")
        person.wait_for("make this one call? [y/N] ")
        person.type("n\n")
        person.wait_for("a person denied this call")
        person.wait_for("\n> ")
        person.type("fetch it\n")  # which the policy does not know
        person.wait_for("there is no tool of this name")
        person.wait_for("\n> ")
        person.type("\x04")
        assert person.end() == 0
        # The tools' own words are longer than a line; what we say is not.
        assert max(len(line) for line in person.read.splitlines()) <= 80
        assert "3 tasks, 2 calls of tools, 2 asked (1 approved)" in person.read
    assert calls_made(tmp_path) == [["erase", {"text": "all"}]]
    assert left(tmp_path) == []


@pytest.mark.thorough
def test_what_was_typed_before_the_question_is_no_answer(
    tmp_path: Path, files: tuple[str, ...]
) -> None:
    with seated(tmp_path, *files) as person:
        person.wait_for("\n> ")
        person.type("erase all\ny\ny\n")
        person.wait_for("make this one call? [y/N] ")
        time.sleep(0.5)
        assert calls_made(tmp_path) == []
        person.type("\n")
        person.wait_for("a person denied this call")
    assert calls_made(tmp_path) == []


THOROUGH = pytest.mark.thorough


@pytest.mark.parametrize(
    "how", ["ctrl-c", *(pytest.param(e, marks=THOROUGH) for e in ("answer", "term", "hangup"))]
)
def test_ended_anywhere_it_leaves_nothing(tmp_path: Path, files: tuple[str, ...], how: str) -> None:
    with seated(tmp_path, *files) as person:
        person.wait_for("\n> ")
        running = person.children()
        assert running, "the MCP server runs"
        assert left(tmp_path) != []
        person.type("erase all\n")
        person.wait_for("make this one call? [y/N] ")
        match how:
            case "answer":
                person.type("\x04")  # the end of the input is no yes, and ends the trial
            case "ctrl-c":
                person.type("\x03")
            case "term":
                person.process.send_signal(signal.SIGTERM)
            case "hangup":
                person.process.send_signal(signal.SIGHUP)
        assert person.end() == (0 if how == "answer" else 130)
        assert "Traceback" not in person.read
        assert not [pid for pid in running if Path(f"/proc/{pid}").exists()]
    assert calls_made(tmp_path) == []
    assert left(tmp_path) == []


def test_without_a_terminal_it_is_denied(tmp_path: Path, files: tuple[str, ...]) -> None:
    ended = without_terminal(tmp_path, *files, "--json", stdin="erase all")
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["scripted"] is True
    (asked,) = told["approvals"]
    assert (asked["tool"], asked["decision"], asked["asked"]) == ("web/erase", "deny", False)
    (call,) = told["calls"]
    assert (call["decision"], call["rule"], call["outcome"]) == ("ask", "erase", "denied")
    assert "a person denied this call" in told["tasks"][0]["text"]
    assert told["servers"] == [{"name": "web", "health": "ok", "reason": "", "tools": 3}]
    assert calls_made(tmp_path) == []
    allowed = without_terminal(tmp_path, *files, "--json", "--task=echo again")
    assert json.loads(allowed.stdout)["tasks"][0]["text"] == "It said: again"
    assert calls_made(tmp_path) == [["echo", {"text": "again"}]]
    assert left(tmp_path) == []


@pytest.mark.parametrize("given_by", ["file", pytest.param("stdin", marks=THOROUGH)])
def test_a_real_model_is_asked_with_its_key(
    tmp_path: Path, files: tuple[str, ...], given_by: str
) -> None:
    key = tmp_path / "key"
    key.write_text(MODEL_VALUE + "\n")
    key.chmod(0o600)
    call = ToolCall("call-1", "web__echo", json.dumps({"text": MODEL_VALUE}))
    with in_background(scripted(Turn(calls=(call,)), Turn("Good day."))) as model:
        named = ("--model=large", f"--model-url={model.url}", "--json", "--task=greet")
        where = f"--model-key-file={key if given_by == 'file' else '-'}"
        stdin = MODEL_VALUE if given_by == "stdin" else ""
        ended = without_terminal(tmp_path, files[0], *named, where, stdin=stdin)
        asked = list(model.asked)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["scripted"] is False
    assert told["tasks"][0]["text"] == "Good day."
    assert asked[0].headers["Authorization"] == f"Bearer {MODEL_VALUE}"
    assert asked[0].body["model"] == "large"
    # What the model made of it went to the tool, and came back without it.
    assert MODEL_VALUE not in json.dumps(asked[1].body)
    assert MODEL_VALUE not in ended.stdout + ended.stderr


def test_a_key_that_others_may_read_is_not_taken(tmp_path: Path, files: tuple[str, ...]) -> None:
    key = tmp_path / "key"
    key.write_text(MODEL_VALUE)
    key.chmod(0o644)
    named = ("--model=large", "--model-url=http://127.0.0.1:9", f"--model-key-file={key}")
    ended = without_terminal(tmp_path, files[0], *named, "--task=greet")
    assert ended.returncode == 3
    assert "others may read the key" in ended.stderr


@THOROUGH
def test_a_model_that_is_not_there_is_told_and_status_1(
    tmp_path: Path, files: tuple[str, ...]
) -> None:
    named = ("--model=large", "--model-url=http://127.0.0.1:9", "--task=greet")
    ended = without_terminal(tmp_path, files[0], *named, "--tokens=10")
    assert ended.returncode == 1
    assert "not done (budget)" in ended.stdout
    assert left(tmp_path) == []


def test_an_address_that_would_carry_the_key_in_the_clear_is_refused(
    tmp_path: Path, files: tuple[str, ...]
) -> None:
    named = ("--model=large", "--model-url=http://models.example", "--task=greet")
    ended = without_terminal(tmp_path, files[0], *named)
    assert ended.returncode == 2
    assert "https" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "name", [n if n == "cron-agent" else pytest.param(n, marks=THOROUGH) for n in template_names()]
)
def test_every_template_can_be_tried_by_its_name(tmp_path: Path, name: str) -> None:
    ended = without_terminal(tmp_path, name, "--json", "--task=Hello")
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["tasks"][0]["ending"] == "answered"
    assert [each for each in told["servers"] if each["health"] != "ok" and not each["reason"]] == []
    if name == "cron-agent":
        (call,) = told["calls"]
        assert (call["tool"], call["decision"], call["outcome"]) == (
            "builtin/send-message",
            "allow",
            "done",
        )


@THOROUGH
def test_killed_its_servers_die_with_it(tmp_path: Path, files: tuple[str, ...]) -> None:
    with seated(tmp_path, *files) as person:
        person.wait_for("\n> ")
        running = person.children()
        assert running
        person.process.kill()
        person.process.wait()
        until = time.monotonic() + 10
        while [pid for pid in running if Path(f"/proc/{pid}").exists()]:
            assert time.monotonic() < until
            time.sleep(0.05)
