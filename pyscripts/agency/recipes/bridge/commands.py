"""`agency recipes bridge`: the program behind the unit of the comment bridge."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from agency.commandline import json_option, log_to_stderr
from agency.recipes.configuration import DEFAULT


@click.command()
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    default=DEFAULT,
    show_default=True,
    help="The configuration of recipe CI, which NixOS writes.",
)
@click.option(
    "--poll-seconds",
    type=click.IntRange(1, 3600),
    default=20,
    show_default=True,
    help="Seconds between two looks at a repository.",
)
@click.option(
    "--listen-fd",
    type=click.IntRange(min=3),
    metavar="NUMBER",
    help="The descriptor of a socket that listens on its port, made by whoever starts it.",
)
@json_option
def bridge(
    config_file: Path,
    poll_seconds: int,
    listen_fd: int | None,
    as_json: bool,  # noqa: ARG001 - the root prints errors by it
) -> None:
    """Take test requests from comments on the forge until SIGTERM.

    The bot's token is the credential forge-bot-token in $CREDENTIALS_DIRECTORY; the credential
    webhook-hmac turns the hook on. The log is JSON lines on standard error.
    """
    from agency.clock import Clock
    from agency.listening import inherited
    from agency.recipes.bridge.process import read_credentials, serve_bridge
    from agency.recipes.configuration import read_config

    log_to_stderr()
    config = read_config(config_file)
    handed = inherited(() if listen_fd is None else (listen_fd,))
    asyncio.run(serve_bridge(config, read_credentials(), float(poll_seconds), Clock(), handed))
