"""A terminal is given text, not commands: in errors, and wherever names of others are printed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
import pytest
from rich.table import Table

from agency.commandline import emit, json_option
from agency.commandline import run as run_command
from agency.errors import AgencyError
from agency.spinup.launch.main import _print_error
from agency.terminal import plain, plain_lines

OBEYED = {
    "ESC": ("\x1b[31m", "\\x1b[31m"),
    "BEL": ("\x07", "\\x07"),
    "title": ("\x1b]0;pwned\x07", "\\x1b]0;pwned\\x07"),
    "right to left": ("\u202e", "\\u202e"),
    "carriage return": ("\r", "\\r"),
    "C1": ("\x9b31m", "\\x9b31m"),
    "zero width": ("\u200b", "\\u200b"),
}


def print_error(error: AgencyError, *, as_json: bool) -> None:
    """Print an error as a command does that ends with it."""

    def fail() -> None:
        raise error

    command = click.Command("x", callback=fail)
    if as_json:
        command = json_option(click.Command("x", callback=lambda as_json: fail()))
    assert run_command(command, ["--json"] if as_json else [], prog_name="x") == 1


SOURCES = Path(__file__).resolve().parents[3] / "pyscripts" / "agency"


@pytest.mark.parametrize("name", OBEYED)
@pytest.mark.parametrize("printing", ["command", "launcher"])
def test_an_error_shows_what_a_terminal_would_obey(
    name: str, printing: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    raw, shown = OBEYED[name]
    error = AgencyError(f"message {raw}.", where=f"where {raw}.", hint=f"hint {raw}.")
    (print_error if printing == "command" else _print_error)(error, as_json=False)
    said = capsys.readouterr().err
    assert raw not in said
    for part in ("message", "where", "hint"):
        assert f"{part} {shown}." in said


def test_an_error_keeps_its_lines_and_its_letters(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(AgencyError("Grüße 日本\n  second"), as_json=False)
    assert "error: Grüße 日本\n  second" in capsys.readouterr().err


def test_json_escapes_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(AgencyError("a\x1b[31m"), as_json=True)
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert json.loads(said)["error"]["message"] == "a\x1b[31m"


def test_a_usage_error_shows_its_argument_plainly(capsys: pytest.CaptureFixture[str]) -> None:
    command = click.Command("x", params=[click.Argument(["number"], type=int)])
    assert run_command(command, ["\x1b[31m"], prog_name="x") == 2
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert "x1b[31m" in said


@pytest.mark.parametrize("text", ["[/x]", "[link=http://evil]a[/link]", "[bold]b", ":smile:"])
def test_what_is_printed_is_never_markup(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    def human(console: object) -> None:
        console.print(f"path /a/{text}")  # type: ignore[attr-defined]
        table = Table(text)
        table.add_row(text)
        console.print(table)  # type: ignore[attr-defined]

    emit({}, as_json=False, human=human)
    assert capsys.readouterr().out.count(text) == 3


def test_nobody_makes_a_console_or_markup_otherwise() -> None:
    made = re.compile(r"\bConsole\(\w")
    styled = re.compile(r"\[/?(?:bold|dim|red|green|yellow|cyan)\]")
    for path in SOURCES.rglob("*.py"):
        text = path.read_text()
        if path.relative_to(SOURCES).as_posix() != "commandline/output.py":
            assert not made.search(text), path
        assert not styled.search(text), path


def test_plain() -> None:
    assert plain("a\nb\tc") == "a\\nb\\tc"
    assert plain_lines("a\nb\tc") == "a\nb\\tc"
