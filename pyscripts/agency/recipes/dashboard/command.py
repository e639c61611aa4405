"""Command `agency recipes dashboard`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from agency.clock import Clock
from agency.commandline import json_option, log_to_stderr
from agency.listening import inherited
from agency.recipes.configuration import DEFAULT, read_config


@click.command()
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, readable=False),
    default=DEFAULT,
    show_default=True,
    help="Configuration of recipe CI, which NixOS writes.",
)
@click.option(
    "--retention-days",
    type=click.IntRange(1, 3650),
    default=180,
    show_default=True,
    help="Days after a run's end for which its logs and files are shown.",
)
@json_option
def dashboard(
    config_file: Path,
    retention_days: int,
    as_json: bool,  # noqa: ARG001 - the root prints errors by it
) -> None:
    """Serve the runs of recipe CI as pages on loopback until SIGTERM.

    It only reads: the record of runs and the runs' logs, screenshots and results. The log is JSON
    lines on standard error.
    """
    from agency.recipes.dashboard.server import serve  # only this command needs its libraries

    log_to_stderr()
    asyncio.run(serve(read_config(config_file), Clock(), retention_days, inherited()))
