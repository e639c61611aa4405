"""`agency agent`: the command that a runtime starts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from agency.agent.carrying import begin_again, read_carried
from agency.agent.gateway.commands import gateway
from agency.agent.process import load_config, load_token, serve
from agency.clock import Clock
from agency.commandline import json_option, log_to_stderr
from agency.listening import inherited
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
@click.option(
    "--listen-fd",
    type=click.IntRange(min=3),
    metavar="NUMBER",
    help="The descriptor of a socket that listens on the agent's port, made by its runtime.",
)
@click.option(
    "--dial",
    type=click.Path(path_type=Path, readable=False),
    metavar="SOCKET",
    help="Listen nowhere: connect to this socket of the runtime, and serve who is there.",
)
@click.option(
    "--carried-fd",
    type=click.IntRange(min=3),
    hidden=True,  # given by the agent to itself
    help="The descriptor of what a restart by ACP carried over.",
)
@json_option
def run(
    config_file: Path,
    audit_socket: Path,
    listen_fd: int | None,
    dial: Path | None,
    carried_fd: int | None,
    as_json: bool,  # noqa: ARG001 - the root prints errors by it
) -> None:
    """Serve the agent control protocol on loopback until SIGTERM.

    The bearer token is read from the file acp-token in $CREDENTIALS_DIRECTORY; without it the
    agent does not start. The log is JSON lines on standard error. A restart that is asked for by
    the protocol begins anew in the same process.
    """
    if dial is not None and listen_fd is not None:
        raise click.UsageError("--dial and --listen-fd exclude one another")
    log_to_stderr()
    config = load_config(config_file)
    handed = inherited(() if listen_fd is None else (listen_fd,))
    carried = None if carried_fd is None else read_carried(carried_fd)
    again = asyncio.run(serve(config, load_token(), Clock(), audit_socket, handed, carried, dial))
    if again is not None:
        begin_again(again)


agent.add_command(gateway)
