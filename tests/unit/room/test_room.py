"""`agency room`, as a person calls it."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import click
import pytest
from click.shell_completion import ShellComplete

from agency.cli import cli
from agency.commandline.main import run
from agency.control.commands import GRAMMAR
from agency.control.entrance.do import do
from agency.control.login import write_login
from agency.control.room import room


@pytest.fixture
def agency(homeserver, tmp_path, monkeypatch, capsys):
    """Runs `agency room ...` with the stand-in's login data in the usual place."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    write_login(tmp_path / "state" / "agency" / "local" / "login.json", homeserver.login)

    def agency(*arguments: str) -> tuple[int, str, str]:
        status = run(cli, ["room", *arguments], prog_name="agency")
        out, err = capsys.readouterr()
        return status, out, err

    return agency


def said(homeserver) -> list[str]:
    return [each.body["body"] for each in homeserver.of("PUT", "/send/")]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["help"], "!agency help"),
        (["help", "agents", "start"], "!agency help agents start"),
        (["ping"], "!agency ping"),
        (["version"], "!agency version"),
        (["agents", "list"], "!agency agents list"),
        (["agents", "show", "pm"], "!agency agents show pm"),
        (["agents", "start", "pm"], "!agency agents start pm"),
        (
            ["agents", "start", "pm", "--project", "new app"],
            '!agency agents start pm --project="new app"',
        ),
        (
            ["agents", "start", "--project=it's", "pm"],
            '!agency agents start pm --project="it\'s"',
        ),
        (["agents", "stop", "pm"], "!agency agents stop pm"),
        (["agents", "restart", "pm", "--project=x"], "!agency agents restart pm --project=x"),
        (["agents", "status"], "!agency agents status"),
        (["agents", "status", "pm"], "!agency agents status pm"),
        (["audit", "tail"], "!agency audit tail 10"),
        (["audit", "tail", "3"], "!agency audit tail 3"),
        (["trace", "cmd-1"], "!agency trace cmd-1"),
        (
            ["gosuto", "set", "pm", "a=1", "b=x y", "--template=pm"],
            '!agency gosuto set pm a=1 "b=x y" --template=pm',
        ),
    ],
)
def test_every_command_is_said_in_its_canonical_text(agency, homeserver, arguments, text):
    assert agency(*arguments) == (0, "pm runs.\n", "")
    assert said(homeserver) == [text]


OPTIONS_OF_ROOM = {"login_file", "timeout_s", "as_json"}
OPTIONS_OF_DO = {
    "socket_file", "url", "token_file", "request_id", "timeout_s", "no_wait", "as_json",
}  # fmt: skip
# What goes with a command: of these alone.
BESIDE_DO = {
    "gosuto set": {"document_file"},
    "gosuto validate": {"document_file"},
    "secrets set": {"value_stdin"},
    "secrets rotate": {"value_stdin"},
}


@pytest.mark.parametrize(("root", "options"), [(room, OPTIONS_OF_ROOM), (do, OPTIONS_OF_DO)])
def test_every_command_of_the_grammar_is_there(root: click.Group, options: set[str]) -> None:
    for spec in GRAMMAR.commands:
        command: click.Command = root
        for word in spec.name.split(" "):
            assert isinstance(command, click.Group)
            command = command.commands[word]
        own = {f"argument_{each.name}" for each in spec.parameters}
        beside = BESIDE_DO.get(spec.name, set()) if root is do else set()
        assert {each.name for each in command.params} == own | options | beside
        flags = {f"--{each.name}" for each in spec.flags}
        taken = [name for each in command.params if each.name in options for name in each.opts]
        assert not flags & {*taken, "--help"}


@pytest.mark.parametrize("module", ["room", "entrance.do", "entrance.tokens"])
def test_the_terminal_loads_nothing_of_the_control_plane(module: str) -> None:
    code = (
        f"import sys, agency.control.{module};"
        "print(sorted(set(sys.modules) & {'sqlalchemy', 'aiohttp', 'mautrix', 'alembic'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"


def completed(*words: str) -> list[str]:
    shell = ShellComplete(cli, {}, "agency", "_AGENCY_COMPLETE")
    return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]


def test_agency_do_completes_what_the_grammar_has() -> None:
    assert completed("do", "ag") == ["agents"]
    assert set(completed("do", "agents", "st")) == {"start", "status", "stop"}
    assert "--project" in completed("do", "agents", "start", "--")
    assert set(completed("do", "tokens", "create", "--role", "")) == {
        "viewer", "operator", "approver", "admin",
    }  # fmt: skip


def test_a_topic_is_completed():
    completed = ShellComplete(cli, {}, "agency", "_AGENCY_COMPLETE").get_completions(
        ["room", "help"], "!st"
    )
    assert [item.value for item in completed] == ["!start-agent", "!stop-agent"]
    names = ShellComplete(cli, {}, "agency", "_AGENCY_COMPLETE").get_completions(
        ["room", "agents", "stop"], "p"
    )
    assert [item.value for item in names] == [], "a terminal knows no agent"


def test_help_says_what_the_grammar_says(agency):
    status, out, _ = agency("agents", "start", "--help")
    assert status == 0
    for words in (
        "Usage: agency room agents start [OPTIONS] <agent>",
        "Start an agent.",
        "--project TEXT",
    ):
        assert words in out
    assert "The project to work on." in out
    assert "<agent>: an agent's name" in out
    status, out, _ = agency("agents", "--help")
    assert status == 0
    assert re.search(r"restart +Stop an agent and start it again\.", out)


def test_a_refusal_is_printed_and_exits_1(agency, homeserver, likeness):
    homeserver.events = [likeness(ok=False, content={"body": "No agent is called qa."})]
    assert agency("agents", "start", "qa") == (1, "No agent is called qa.\n", "")


def test_as_json(agency, homeserver, likeness):
    status, out, err = agency("agents", "start", "pm", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out) == {
        "said": "!agency agents start pm",
        "event_id": "$command",
        "ok": True,
        "trace": "t-1",
        "reply": {
            "event_id": "$reply",
            "sender": "@agency:agency.example",
            "body": "pm runs.",
        },
    }
    homeserver.events = [likeness(ok=False)]
    status, out, _ = agency("ping", "--json")
    assert (status, json.loads(out)["ok"]) == (1, False)


def test_nothing_in_a_reply_commands_the_terminal(agency, homeserver, likeness):
    homeserver.events = [likeness(content={"body": "a\x1b[2J [bold]b\nc\u202ed"})]
    assert agency("ping")[1] == "a<U+001B>[2J [bold]b\nc<U+202E>d\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["agents", "start", "PM"], 'did you mean "pm"?'),
        (["agents", "start", "pm", "--project", ""], "project is empty"),
        (["agents", "start", "pm", "--project", "a\nb"], "U+000A"),
        (["agents", "start"], "Missing argument"),
        (["agents", "start", "pm", "x"], "unexpected extra argument"),
        (["agents", "dance"], "No such command"),
        (["audit", "tail", "101"], "from 1 to 100"),
        (["help", "agents", "strat"], 'did you mean "agents start"?'),
        (["trace", "a/b"], "not a trace id"),
        (["ping", "--timeout", "0"], "--timeout"),
        (["ping", "--timeout", "601"], "--timeout"),
    ],
)
def test_wrong_usage_is_not_said(agency, homeserver, arguments, words):
    status, _, err = agency(*arguments)
    assert status == 2
    assert words in " ".join(err.split())
    assert homeserver.requests == []


def test_no_login_data(agency, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "nothing"))
    status, _, err = agency("ping")
    assert status == 3
    assert "agency up" in err


def test_a_login_file_of_ones_own(agency, homeserver, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "nothing"))
    write_login(tmp_path / "mine.json", homeserver.login)
    assert agency("ping", "--login", str(tmp_path / "mine.json"))[0] == 0


def test_no_reply_in_time(agency, homeserver):
    homeserver.events = []
    status, _, err = agency("ping", "--timeout", "0.2", "--json")
    assert status == 1
    error = json.loads(err)["error"]
    assert error["message"] == "the command was sent, but no reply came within 0.2 s"
    assert error["where"] == "$command"
