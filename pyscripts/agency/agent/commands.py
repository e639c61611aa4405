"""`agency agent`: what runtimes start, and what people try and look at."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TextIO

import click

from agency.agent.carrying import begin_again, read_carried
from agency.agent.config_option import config_option
from agency.agent.explaining.commands import explain_command
from agency.agent.gateway.commands import gateway
from agency.agent.process import load_config, load_token, serve
from agency.agent.programs.command.commands import command, host
from agency.agent.scripted.commands import scripted_model
from agency.agent.trying.commands import try_command
from agency.clock import Clock
from agency.commandline import emit, json_option, log_to_stderr
from agency.errors import ExitCode
from agency.listening import inherited
from agency.protocols import SOCKET

MAX_TASK = 256 * 1024  # characters of a task's text


@click.group()
def agent() -> None:
    """Try and explain agents, and run their parts (started by their runtime)."""


agent.add_command(command)
agent.add_command(host)


@agent.command()
@config_option("The agent's configuration, a JSON file that its runtime writes.")
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


@agent.command()
@config_option("The proxy's configuration, a JSON file (docs/models.md).")
@click.option("--check", is_flag=True, help="Check the configuration and its credentials only.")
@click.option(
    "--listen-fd",
    type=click.IntRange(min=3),
    metavar="NUMBER",
    help="The descriptor of a socket that listens on its port, made by whoever starts it.",
)
@json_option
def proxy(config_file: Path, check: bool, listen_fd: int | None, as_json: bool) -> None:
    """Serve the way of this machine's agents to language models until SIGTERM.

    The providers' keys are credentials in $CREDENTIALS_DIRECTORY. Each agent has a token, which its
    program takes as the key of the model's provider; the configuration holds its digest. Every call
    is reserved in a ledger before it leaves, and counts whole until it is settled.
    """
    from agency.agent.proxy.config import load_config as load_proxy  # only the proxy needs them
    from agency.agent.proxy.process import read_keys
    from agency.agent.proxy.process import serve as serve_proxy

    config = load_proxy(config_file)
    if check:
        read_keys(config)
        told = {"ok": True, "agents": len(config.accounts), "models": len(config.models)}
        emit(told, as_json=as_json, human=lambda out: out.print("the configuration is valid"))
        return
    log_to_stderr()
    handed = inherited(() if listen_fd is None else (listen_fd,))
    asyncio.run(serve_proxy(config, Clock(), handed))


@agent.command()
@config_option("The program's configuration, a JSON file (docs/models.md).")
@click.option(
    "--task",
    "task_file",
    type=click.File("r"),
    default="-",
    show_default=True,
    help="The file with the task's text; - is standard input.",
)
@click.option(
    "--assigned",
    is_flag=True,
    help="Do the task of the task loop that started this, in place of it.",
)
@json_option
def work(config_file: Path, task_file: TextIO, assigned: bool, as_json: bool) -> int:
    """Work on one task with the builtin program, and print its answer.

    Persona and limits come from the agent's Gosuto, the model through the proxy. Every step is in a
    journal: started again with it, the program goes on where it was ended. Exits with 1 if there is
    no answer.
    """
    from rich.text import Text  # only this command needs them

    from agency.agent.programs.steps import Ending
    from agency.agent.programs.work import WorkConfig, tools_of
    from agency.agent.programs.work import work as work_on
    from agency.settings import load

    log_to_stderr()
    if assigned:
        from agency.agent.programs.assigned import handed, work_assigned
        from agency.agent.rooms.own_task import own_task_of, work_own

        files, own = handed(os.environ), own_task_of(config_file)
        doing = work_assigned(config_file, files, Clock()) if own is None else work_own(own, files)
        worked = asyncio.run(doing)
    else:
        config = load(config_file, WorkConfig, what="the configuration", hint="see docs/models.md")
        worked = asyncio.run(work_on(config, task_file.read(MAX_TASK), tools_of(config), Clock()))
    end = worked.end
    answered = end.ending is Ending.ANSWERED
    text = end.said if answered else f"{end.ending.value}: {end.said}"
    told = {"ok": answered, "ending": end.ending.value, "text": end.said}
    emit(told, as_json=as_json, human=lambda out: out.print(Text(text)))
    return int(ExitCode.DONE if answered else ExitCode.BAD)


@agent.command()
@config_option("The agent's configuration in rooms, a JSON file (docs/agents-rooms.md).")
@json_option
def chat(config_file: Path, as_json: bool) -> None:  # noqa: ARG001 - the root prints errors by it
    """Answer people in Matrix rooms with the builtin program until SIGTERM.

    Rooms and people are those of trust in the agent's Gosuto, which is read again when it changes.
    The account's access token is a credential in $CREDENTIALS_DIRECTORY. What was asked is kept on
    disk until it is answered: started again, the agent goes on.
    """
    from agency.agent.rooms.config import ChatConfig  # only this command needs them
    from agency.agent.rooms.process import chat as chat_in_rooms
    from agency.settings import load

    log_to_stderr()
    config = load(
        config_file, ChatConfig, what="the configuration", hint="see docs/agents-rooms.md"
    )
    asyncio.run(chat_in_rooms(config, Clock()))


agent.add_command(gateway)
agent.add_command(scripted_model)
agent.add_command(try_command)
agent.add_command(explain_command)
