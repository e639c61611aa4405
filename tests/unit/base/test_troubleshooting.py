"""docs/troubleshooting.md: each condition has a row, and every command is one that exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import click
import pytest
from troubleshooting import PAGE, ROOT, filled, is_command, read_rows, units

from agency.cli import cli
from agency.control.commands import parse
from agency.control.conditions import Code
from agency.spinup.cli import spinup_smoke

ROWS = read_rows(PAGE.read_text())
COMMANDS = sorted({command for row in ROWS for command in row.commands()})
READINESS = ROOT / "pyscripts/agency/control/appservice/readiness.py"


def test_every_condition_has_a_row_of_its_own() -> None:
    symptoms = [row.symptom for row in ROWS]
    assert [code for code in Code if f"`{code}`" not in symptoms] == []


def _reasons(source: str) -> set[str]:
    """The texts that a readiness check gives as reasons, up to what varies in them."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        values: list[ast.expr] = []
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "append":
            values = node.args
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Seen":
            values = [one for arg in node.args if isinstance(arg, ast.Tuple) for one in arg.elts]
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "reason":
            values = [node.value]
        for value in values:
            first = value.values[0] if isinstance(value, ast.JoinedStr) else value
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                found.add(first.value.partition(":")[0].partition(";")[0])
    return found


def test_every_reason_of_readiness_has_a_row() -> None:
    reasons = _reasons(READINESS.read_text())
    assert {"the bot is not in the control room", "homeserver"} <= reasons
    told = " ".join(row.symptom for row in ROWS)
    # The room's own condition tells of it, too.
    told += " the control room is encrypted" if f"`{Code.ROOM_ENCRYPTED}`" in told else ""
    assert [one for one in sorted(reasons) if one not in told] == []


def test_a_reason_without_a_row_would_be_seen() -> None:
    assert _reasons('reasons.append(f"the sky fell: {why}")') == {"the sky fell"}


def test_every_row_has_something_to_type_or_a_page_to_read() -> None:
    assert len(ROWS) > 40
    for row in ROWS:
        assert row.cause, row
        assert any(is_command(one) for one in row.commands()) or "](" in row.remedy, row


def test_what_looks_like_a_command_is_of_a_known_program() -> None:
    """So that no command escapes the tests below."""
    spans = [one for row in ROWS for one in re.findall(r"`([^`]+)`", row.remedy) if " " in one]
    assert [one for one in spans if not is_command(one) and not one.startswith("/upgrade")] == []


@pytest.mark.parametrize("command", [one for one in COMMANDS if one.startswith("!")])
def test_a_command_of_the_room_parses(command: str) -> None:
    words = filled(command)
    assert parse(" ".join(words)).text is not None


@pytest.mark.parametrize("command", [one for one in COMMANDS if one.startswith("agency")])
def test_a_command_of_the_program_parses(command: str) -> None:
    assert _parses(cli, filled(command)[1:])
    if command.startswith("agency command"):
        parse("!agency " + " ".join(filled(command)[2:]))


def _parses(command: click.Command, arguments: list[str]) -> bool:
    """Parse as the program would, with every check of values, and run nothing."""
    context = click.Context(command, info_name="agency")
    while isinstance(command, click.Group) and arguments:
        name, found, arguments = command.resolve_command(context, arguments)
        assert found is not None
        command, context = found, click.Context(found, parent=context, info_name=name)
    if not isinstance(command, click.Group):
        command.make_context("agency", list(arguments), parent=context)
    return True


@pytest.mark.parametrize(
    "wrong", ["agency doktor", "agency status --quickly", "agency guest list x"]
)
def test_a_command_that_does_not_exist_is_noticed(wrong: str) -> None:
    with pytest.raises(click.ClickException):
        _parses(cli, wrong.split()[1:])


def test_spin_ups_parse() -> None:
    (command,) = [one for one in COMMANDS if one.startswith("spinup_smoke")]
    assert _parses(spinup_smoke, filled(command)[1:])


def test_targets_of_make_exist() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    asked = [filled(one)[1] for one in COMMANDS if one.startswith("make ")]
    assert asked
    assert set(asked) <= set(targets)


def test_units_are_found_in_command_lines() -> None:
    assert units(["systemctl", "stop", "a.socket", "b"]) == ["a.socket", "b.service"]
    assert units(["journalctl", "-f", "-u", "a", "-u", "b@c"]) == ["a.service", "b@c.service"]
    named = {unit for one in COMMANDS for unit in units(filled(one))}
    assert {"nginx.service", "agency-agent@pm.service", "agency-control.socket"} <= named


def test_the_page_is_linked() -> None:
    assert "docs/troubleshooting.md" in Path(ROOT / "README.md").read_text()
