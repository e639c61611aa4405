"""Every way a command can end has its exit status, and errors have two forms."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import click
import pytest

from agency import cli
from agency.errors import (
    AgencyError,
    BadInputError,
    ExitCode,
    InternalError,
    PrerequisiteError,
    UsageError,
)


def ending(action: Callable[[], object]) -> click.Command:
    @click.command()
    @click.option("--json", "as_json", is_flag=True)
    def command(as_json: bool) -> object:
        return action()

    return command


def raiser(error: BaseException) -> Callable[[], object]:
    def action() -> object:
        raise error

    return action


@pytest.mark.parametrize(
    ("action", "status"),
    [
        (lambda: None, 0),
        (lambda: 1, 1),
        (raiser(click.exceptions.Exit(3)), 3),
        (raiser(BadInputError("x")), 1),
        (raiser(UsageError("x")), 2),
        (raiser(click.UsageError("x")), 2),
        (raiser(PrerequisiteError("x")), 3),
        (raiser(InternalError("x")), 4),
        (raiser(ZeroDivisionError("x")), 4),
        (raiser(KeyboardInterrupt()), 130),
        (raiser(click.Abort()), 130),
    ],
)
def test_exit_statuses(action: Callable[[], object], status: int) -> None:
    assert cli.run(ending(action), [], prog_name="test") == status


def test_an_error_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    cli.run(ending(raiser(BadInputError("wrong", where="file:3", hint="do it"))), [], prog_name="t")
    captured = capsys.readouterr()
    assert captured.err == "error: file:3: wrong\n  hint: do it\n"
    assert captured.out == ""


def test_an_error_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    error = BadInputError("wrong [red]x", where="file:3", hint="do it")
    cli.run(ending(raiser(error)), ["--json"], prog_name="t")
    captured = capsys.readouterr()
    assert json.loads(captured.err) == {
        "error": {
            "kind": "BadInputError",
            "message": "wrong [red]x",
            "where": "file:3",
            "hint": "do it",
            "exit_code": 1,
        }
    }
    assert captured.out == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--nope"], "--nope"), (["--number", "x"], "'x' is not a valid integer"), (["y"], "(y)")],
)
def test_wrong_usage_has_both_forms(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    @click.option("--json", "as_json", is_flag=True)
    @click.option("--number", type=int)
    def command(as_json: bool, number: int) -> None:
        pass

    assert cli.run(command, [*arguments, "--json"], prog_name="t") == 2
    captured = capsys.readouterr()
    error = json.loads(captured.err)["error"]
    assert said in error["message"]
    assert (error["kind"], error["where"], error["exit_code"]) == ("UsageError", "t", 2)
    assert captured.out == ""
    assert cli.run(command, arguments, prog_name="t") == 2
    plain = capsys.readouterr().err
    assert plain.startswith("Usage: t ")
    assert said in plain


def test_markup_in_a_message_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    cli.run(ending(raiser(BadInputError("[red]x[/red]"))), [], prog_name="t")
    assert "[red]x[/red]" in capsys.readouterr().err


def test_every_error_has_its_own_exit_code() -> None:
    assert {e.exit_code for e in (BadInputError, UsageError, PrerequisiteError, InternalError)} == {
        ExitCode.BAD,
        ExitCode.USAGE,
        ExitCode.PREREQUISITE,
        ExitCode.INTERNAL,
    }
    assert str(AgencyError("what", where="here", hint="next")) == "here: what\n  hint: next"


def agency(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agency", *arguments], capture_output=True, text=True, timeout=60
    )


def test_an_unknown_command_is_wrong_usage() -> None:
    done = agency("no-such-command")
    assert done.returncode == 2
    assert "no-such-command" in done.stderr


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from agency import cli; cli.run(cli.cli, ['--help'], prog_name='agency');"
        "print(sorted(set(sys.modules) & "
        "{'rich','pydantic','sqlalchemy','mautrix','jinja2','cryptography','yaml','aiohttp'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert "secrets" in done.stdout
