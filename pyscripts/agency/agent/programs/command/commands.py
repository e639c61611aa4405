"""`agency agent command`: start a command-line agent under the agency's policy."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import click

from agency.agent.config_option import config_option
from agency.commandline import emit, json_option
from agency.errors import ExitCode


@click.command()
@config_option("The program's configuration, a JSON file (docs/bring-your-own-agent.md).")
@click.option("--check", is_flag=True, help="Write the agent's files and say what would start.")
@json_option
def command(config_file: Path, check: bool, as_json: bool) -> int:
    """Work on one task with a command-line agent that a team already uses.

    Its configuration is rendered anew at each start: the model by the proxy, tools by the gateway,
    its own tools off or confined. The task is read from standard input; output and exit status are
    the agent's own. With the sockets of gateway and proxy in its configuration it gets a network of
    its own, from which nothing else is reached; without them this process becomes the agent's.
    """
    from agency.agent.programs.command.starting import CommandConfig, become, prepare
    from agency.settings import load
    from agency.terminal import plain

    hint = "see docs/bring-your-own-agent.md"
    config = load(config_file, CommandConfig, what="the configuration", hint=hint)
    prepared = prepare(config, os.environ)
    if not check:
        if ways := config.ways():
            from agency.agent.programs.command.enclosing import run_enclosed

            return run_enclosed(prepared, ways)
        become(prepared)
    told = {
        "ok": True,
        "argv": prepared.argv,
        "directory": str(prepared.launch.directory),
        "files": [str(file.path) for file in prepared.launch.files],
        "environment": sorted(prepared.environment),
    }
    emit(told, as_json=as_json, human=lambda out: out.print(plain(" ".join(prepared.argv))))
    return int(ExitCode.DONE)


@click.command()
@config_option("The host's configuration, a JSON file that the agent's runtime writes.")
@json_option
def host(config_file: Path, as_json: bool) -> None:  # noqa: ARG001 - its log is JSON anyway
    """Host a command-line agent apart from its account in rooms, until SIGTERM.

    It is started for each task that the account hands over, one at a time; two ports of loopback
    lead to proxy and gateway, by the account. Where more than loopback is reached, nothing starts.
    The log is JSON lines on standard error.
    """
    from agency.agent.programs.command.hosting import HostConfig, serve
    from agency.commandline import log_to_stderr
    from agency.settings import load

    log_to_stderr()
    hint = "its runtime writes it: restart the agent"
    asyncio.run(serve(load(config_file, HostConfig, what="the configuration", hint=hint)))
