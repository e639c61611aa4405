"""Command `agency doctor`."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from agency.commandline import emit, json_option
from agency.doctor.finding import Finding, Level, Subject
from agency.doctor.registry import CHECKS
from agency.doctor.runner import run_checks
from agency.errors import ExitCode
from agency.instance import default_directory, instance_file
from agency.terminal import plain_lines

_STYLES = {Level.OK: "green", Level.NOTE: "yellow", Level.BAD: "red"}


@click.command()
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--age-key", type=click.Path(path_type=Path), help="The private key to try, and no other."
)
@json_option
def doctor(directory: Path | None, age_key: Path | None, as_json: bool) -> None:
    """Look once at all that usually goes wrong on this machine and with the instance in DIR.

    Each finding names the command that mends it. It changes nothing, and ends within a minute.
    Exit status 1: something must be mended.
    """
    findings = run_checks(CHECKS, Subject(_instance(directory), age_key))
    wrong = any(one.level is Level.BAD for one in findings)
    answer = {"ok": not wrong, "findings": [asdict(one) for one in findings]}
    emit(answer, as_json=as_json, human=lambda out: _print(out, findings))
    if wrong:
        raise click.exceptions.Exit(int(ExitCode.BAD))


def _instance(directory: Path | None) -> Path | None:
    """Return the instance that is named or found; None if none is."""
    if directory is not None:
        return directory
    found = default_directory()
    return found if instance_file(found).is_file() else None


def _print(out: Console, findings: list[Finding]) -> None:
    for one in findings:
        line = Text(f"{one.level.value:5}", style=_STYLES[one.level])
        line.append(f"{plain_lines(one.subject)}: {plain_lines(one.message)}", style="default")
        out.print(line)
        if one.remedy:
            out.print(Text(f"      mend it: {plain_lines(one.remedy)}"))
    count = Counter(one.level for one in findings)
    out.print(
        Text(f"{count[Level.OK]} ok, {count[Level.NOTE]} to know, {count[Level.BAD]} to mend")
    )
