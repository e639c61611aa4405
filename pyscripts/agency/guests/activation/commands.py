"""`agency activate`: bring this Debian machine to the exported definitions."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from agency.clock import Clock
from agency.commandline import emit, json_option
from agency.errors import ExitCode, UsageError
from agency.guests.activation import activate as activation
from agency.guests.activation.changes import Activation, ActivationError
from agency.guests.activation.definitions import known_parts, load_definitions
from agency.terminal import plain

directory = click.Path(path_type=Path, file_okay=False, exists=True)


@click.command()
@click.option("--portable", type=directory, required=True, help="modules/portable of a checkout.")
@click.option("--instance", type=directory, required=True, help="The instance, rendered.")
@click.option(
    "--with",
    "parts",
    multiple=True,
    metavar="PART",
    help="Part of the export that this machine has beside what every one has. May be repeated.",
)
@click.option("--check", is_flag=True, help="Change nothing; exit 1 when something differs.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=120.0,
    show_default=True,
    help="Longest that it may take, in seconds.",
)
@json_option
def activate(
    portable: Path,
    instance: Path,
    parts: tuple[str, ...],
    check: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Bring this machine, a Debian with systemd, to what the NixOS modules declare.

    What differs is mended, whoever changed it; a second run changes nothing. On NixOS a switch
    does this.
    """
    known = known_parts(portable)
    for part in parts:
        if part not in known:
            hint = f"parts of this export: {', '.join(known) or 'none'}"
            raise UsageError(f"there is no part {part!r}", where="--with", hint=hint)
    definitions = load_definitions(portable, instance, parts)
    with activation.only_one():
        try:
            report = asyncio.run(
                activation.check(definitions, clock=Clock())
                if check
                else activation.activate(definitions, timeout_s=timeout, clock=Clock())
            )
        except ActivationError as error:
            if not as_json:
                click.echo("\n".join(map(plain, error.log_tail)), err=True)
            raise
    emit(report.as_dict(), as_json=as_json, human=lambda out: _print(out, report, check=check))
    if check and report.changes:
        raise click.exceptions.Exit(int(ExitCode.BAD))


def _print(out: Console, report: Activation, *, check: bool) -> None:
    word = "differs" if check else "changed"
    for change in report.changes:
        out.print(Text(f"{word} {change.kind} {change.what}: {change.before} -> {change.after}"))
    for name in report.ran:
        out.print(Text(f"ran {name}"))
    if not report.changes:
        out.print(Text("nothing differs", style="green"))
    out.print(Text(f"{len(report.units)} units up, {report.seconds:.1f} s"))
