"""Command `agency room`: the control room's commands in a terminal, built from the grammar."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from agency.commandline import emit, json_option
from agency.control.commands import GRAMMAR
from agency.control.grammar.characters import escape
from agency.control.grammar.command import Command
from agency.control.grammar.errors import advice
from agency.control.grammar.kinds import ValueProblemError
from agency.control.grammar.printing import format_command
from agency.control.grammar.spec import CommandSpec, Parameter
from agency.control.login import default_login_file, read_login
from agency.errors import ExitCode, UsageError
from agency.protocols import Reply

DEFAULT_TIMEOUT_S = 30.0


@click.group()
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


def _click_parameter(parameter: Parameter) -> click.Parameter:
    def complete(_context: click.Context, _of: click.Parameter, begun: str) -> list[str]:
        return list(parameter.kind.complete(begun))

    if not parameter.positional:
        return click.Option(
            [f"--{parameter.name}", parameter.name],
            required=parameter.required,
            metavar=parameter.metavar or None,
            help=parameter.summary[:1].upper() + parameter.summary[1:] + ".",
            shell_complete=complete,
        )
    return click.Argument(
        [parameter.name],
        required=parameter.required,
        nargs=-1 if parameter.kind.rest or parameter.kind.tail else 1,
        metavar=parameter.usage,
        shell_complete=complete,
    )


def _callback(spec: CommandSpec) -> Callable[..., int]:
    def callback(
        login_file: Path | None, timeout_s: float, as_json: bool, **given: str | tuple[str, ...]
    ) -> int:
        values = {
            name: _joined(spec, name, value) if isinstance(value, tuple) else value
            for name, value in given.items()
            if value not in (None, ())
        }
        try:
            command = Command(spec, values)
        except ValueProblemError as problem:
            raise UsageError(
                problem.message, hint=advice(problem.suggestion, problem.hint)
            ) from None
        return say(command, login_file, timeout_s, as_json)

    return callback


def _joined(spec: CommandSpec, name: str, words: tuple[str, ...]) -> str:
    """Make the text of a parameter that takes several words."""
    parameter = spec.parameter(name)
    return " ".join(words) if parameter is None else parameter.kind.joined(words)


def _click_command(spec: CommandSpec) -> click.Command:
    summary = spec.summary
    described = [f"{each.usage}: {each.summary}." for each in spec.positionals]
    command = click.Command(
        spec.verb or spec.noun,
        callback=_callback(spec),
        params=[_click_parameter(each) for each in spec.parameters],
        help="\n\n".join([summary, *described]),
        short_help=summary,
    )
    options: list[Callable[[Any], Any]] = [
        click.option(
            "--login",
            "login_file",
            type=click.Path(path_type=Path, dir_okay=False),
            help="File with login data; default: that of the local agency.",
        ),
        click.option(
            "--timeout",
            "timeout_s",
            type=click.FloatRange(min=0, max=600, min_open=True),
            default=DEFAULT_TIMEOUT_S,
            show_default=True,
            help="Seconds to wait for the reply.",
        ),
        json_option,
    ]
    for option in options:
        command = option(command)
    return command


def _add_commands() -> None:
    for noun in GRAMMAR.nouns:
        specs = [spec for spec in GRAMMAR.commands if spec.noun == noun]
        if not GRAMMAR.verbs_of(noun):
            room.add_command(_click_command(specs[0]))
            continue
        verbs = ", ".join(GRAMMAR.verbs_of(noun))
        group = click.Group(noun, help=f"Commands on {noun}: {verbs}.")
        for spec in specs:
            group.add_command(_click_command(spec))
        room.add_command(group)


_add_commands()
