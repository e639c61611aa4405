"""`agency agent`: the command that a runtime starts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from agency.agent.process import load_config, load_token, serve
from agency.clock import Clock
from agency.commandline import json_option, log_to_stderr
from agency.protocols import SOCKET


@click.group()
def agent() -> None:
    """Run one agent (started by its runtime)."""


@agent.command()
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    required=True,
    help="The agent's configuration, a JSON file that its runtime writes.",
)
@click.option(
    "--audit-socket",
    type=click.Path(path_type=Path, readable=False),
    default=SOCKET,
    show_default=True,
    help="The socket of the agents' audit log; where there is none, its log says so.",
)
@json_option
def run(config_file: Path, audit_socket: Path, as_json: bool) -> None:  # noqa: ARG001 - the root prints errors by it
    """Serve the agent control protocol on loopback until SIGTERM.

    The bearer token is read from the file acp-token in $CREDENTIALS_DIRECTORY; without it the
    agent does not start. The log is JSON lines on standard error.
    """
    log_to_stderr()
    config = load_config(config_file)
    asyncio.run(serve(config, load_token(), Clock(), audit_socket))
