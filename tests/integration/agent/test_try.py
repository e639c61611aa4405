"""`agency agent try`: gateway, MCP server, proxy and policy are real; so is the terminal."""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from background import in_background
from scripted_model import Turn, scripted
from trying import left, make_files, seated, without_terminal

from agency.agent.models.conversation import ToolCall
from agency.agent.scripted.script import load_script
from agency.gosuto import template_names

MODEL_VALUE = "a-value-that-only-the-proxy-has"


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A short path, so that a trial keeps what it keeps below it, and nowhere else."""
    with tempfile.TemporaryDirectory(prefix="try-", dir="/tmp") as name:
        yield Path(name)


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
                person.type("\x03")  # once more, while it ends
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
    long = tmp_path / ("d" * 100)  # no socket has a place there
    long.mkdir()
    words = (*files, "--json", "--task=echo again")
    allowed = without_terminal(tmp_path, *words, TMPDIR=str(long))
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


SAID = {"cron-agent": "I wrote the report to the room reports: sent", "pm": "told the team"}


@pytest.mark.thorough
@pytest.mark.parametrize("name", [each for each in template_names() if each != "developer"])
def test_every_template_can_be_tried_by_its_name(tmp_path: Path, name: str) -> None:
    ended = without_terminal(tmp_path, name, "--json", stdin=load_script(name).task)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    (task,) = told["tasks"]
    assert task["ending"] == "answered"
    assert SAID.get(name, "") in task["text"]
    for each in told["servers"]:  # a browser, or the forge's token, may not be here
        assert each["health"] == "ok" or each["reason"]
    assert left(tmp_path) == []


def test_the_developer_mends_a_failing_test_under_the_coding_contract(tmp_path: Path) -> None:
    ended = without_terminal(tmp_path, "developer", "--json", "--task=Fix the failing test")
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert [(each["tool"], each["outcome"]) for each in told["calls"]] == [
        ("code/begin", "done"),
        ("code/check", "failed"),
        ("code/read", "done"),
        ("code/write", "done"),
        ("code/check", "done"),
        ("code/commit", "done"),
        ("code/end", "done"),
    ]
    assert '"branch": "agent-trial/mend-the-sum"' in told["tasks"][0]["text"]
    assert left(tmp_path) == []


@THOROUGH
def test_a_repository_of_ones_own_is_worked_on_in_a_clone(tmp_path: Path) -> None:
    mine = tmp_path / "mine"

    def git(*words: str) -> str:
        argv = ["git", "-c", "user.name=A", "-c", "user.email=a@a.example", *words]
        return subprocess.run(argv, cwd=mine, check=True, capture_output=True, text=True).stdout

    mine.mkdir()
    git("init", "--quiet")
    (mine / "calc.py").write_text("nothing = 1\n")
    git("add", "--all")
    git("commit", "--quiet", "--message=Begin")
    before = git("show-ref")
    words = ("developer", "--json", "--task=Fix the failing test", f"--repository={mine}")
    told = json.loads(without_terminal(tmp_path, *words).stdout)
    assert "Mend the sum" in told["tasks"][0]["text"]
    assert git("show-ref") == before
    assert git("status", "--porcelain") == ""
    (tmp_path / "none").mkdir()
    refused = without_terminal(tmp_path, *words[:3], f"--repository={tmp_path / 'none'}")
    assert refused.returncode == 1
    assert "clone" in refused.stderr
    assert left(tmp_path) == []


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
