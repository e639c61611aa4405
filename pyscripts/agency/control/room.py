"""Command `agency room`: the control room's commands in a terminal, built from the grammar."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from agency.commandline import emit, json_option
from agency.control.entrance.terminal import SuggestingGroup, add_commands, timeout_option
from agency.control.grammar.characters import escape
from agency.control.grammar.command import Command
from agency.control.grammar.printing import format_command
from agency.control.login import default_login_file, read_login
from agency.errors import ExitCode
from agency.protocols import Reply

DEFAULT_TIMEOUT_S = 30.0


@click.group(cls=SuggestingGroup)
def room() -> None:
    """Send a command to the control room and print the reply.

    Exit status: 0 done, 1 refused or failed, 3 no login data.
    """


def say(command: Command, login_file: Path | None, timeout_s: float, as_json: bool) -> int:
    """Send a command as the operator of a login file; returns the exit status.

    Raises:
        AgencyError: there is no login data, or no reply.
    """
    login = read_login(login_file if login_file is not None else default_login_file())
    text = format_command(command)
    from agency.control.room_client import ask  # here, so that --help does not load aiohttp

    reply = asyncio.run(ask(login, text, timeout_s=timeout_s))
    emit(_as_json(text, reply), as_json=as_json, human=lambda console: _show(console, reply))
    return int(ExitCode.DONE if reply.ok else ExitCode.BAD)


def _as_json(text: str, reply: Reply) -> dict[str, object]:
    return {
        "said": text,
        "event_id": reply.command,
        "ok": reply.ok,
        "trace": reply.trace,
        "reply": {"event_id": reply.event_id, "sender": reply.sender, "body": reply.body},
    }


def _show(console: Console, reply: Reply) -> None:
    body = "\n".join(escape(line) for line in reply.body.split("\n"))
    console.print(Text(body, style="" if reply.ok else "red"))


add_commands(
    room,
    lambda _spec: (
        click.option(
            "--login",
            "login_file",
            type=click.Path(path_type=Path, dir_okay=False),
            help="File with login data; default: that of the local agency.",
        ),
        timeout_option(DEFAULT_TIMEOUT_S, "the reply"),
        json_option,
    ),
    say,
)
