"""Commands for a machine's units, which have no instance: `agency secrets install`, `compose`."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from agency.commandline import emit, json_option
from agency.secrets.delivery.compose import compose, read_config
from agency.secrets.delivery.install import Installed, Installer, load_config


@click.command("install")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    required=True,
    help="JSON file that lists the secrets and their paths; the machine's modules write it.",
)
@json_option
def install_secrets(config_file: Path, as_json: bool) -> None:
    """Install this machine's secrets; its units call this at every boot and activation.

    A second run writes nothing. Exit status 1: a secret could not be installed; the output names
    it, and the others are installed. 3: nothing can be decrypted.
    """
    report = Installer(load_config(config_file)).run()
    emit(report.as_dict(), as_json=as_json, human=lambda out: _print_installed(out, report))
    if report.failed:
        raise click.exceptions.Exit(int(report.exit_code))


def _print_installed(out: Console, report: Installed) -> None:
    for what in ("written", "removed"):
        for name in getattr(report, what):
            out.print(Text(f"{what}: {name}"))
    for name, error in report.failed.items():
        out.print(Text(f"failed: {name}: {error}", style="red"))
    out.print(Text(f"{len(report.unchanged)} unchanged"))


@click.command("compose")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("/etc/agency/issued.json"),
    show_default=True,
    help="JSON file that lists the files to write and their secrets.",
)
@json_option
def compose_issued(config: Path, as_json: bool) -> None:
    """Write the files made of secrets that this machine's services issued.

    Units that read a changed file are restarted.
    """
    done = compose(read_config(config))

    def human(console: Console) -> None:
        for name in done.changed:
            console.print(f"changed  {name}", markup=False)
        for path in done.missing:
            console.print(f"not yet issued  {path}", markup=False)
        for unit in done.restarted:
            console.print(f"restarted  {unit}", markup=False)

    emit(done.as_dict(), as_json=as_json, human=human)
