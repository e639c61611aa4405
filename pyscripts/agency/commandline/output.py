"""Output of commands: rich text for people, JSON for programs, errors in either form."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from agency.errors import AgencyError

if TYPE_CHECKING:
    from rich.console import Console

Command = TypeVar("Command", bound=Callable[..., Any])


def json_option(command: Command) -> Command:
    """Add `--json` to a click command (its parameter is `as_json`)."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON document instead of text."
    )(command)


def console(*, stderr: bool = False) -> Console:
    """Make a rich console that honours NO_COLOR, plain terminals and pipes.

    Text is printed as it is, whatever brackets and colons it has: styles come by rich's Text.
    """
    from agency.commandline.rich_console import PipeConsole

    wrap = not sys.stdout.isatty()
    return PipeConsole(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=wrap)


def _is_not_utf8(stream: object) -> bool:
    """Return whether a stream lacks letters, whose replacement would not be JSON."""
    encoding = str(getattr(stream, "encoding", None) or "utf-8")
    return encoding.lower().replace("-", "") != "utf8"


def emit(data: object, *, as_json: bool, human: Callable[[Console], None]) -> None:
    """Print `data` as JSON, or let `human` print it on a console."""
    if as_json:
        ascii_only = _is_not_utf8(sys.stdout)
        click.echo(json.dumps(data, indent=2, ensure_ascii=ascii_only, default=str))
    else:
        human(console())


def print_error(error: AgencyError, *, as_json: bool) -> None:
    """Print an error on standard error; nothing in it is markup, or obeyed by a terminal."""
    if as_json:
        ascii_only = _is_not_utf8(sys.stderr)
        click.echo(json.dumps({"error": error.as_dict()}, ensure_ascii=ascii_only), err=True)
        return
    from rich.text import Text

    from agency.terminal import plain, plain_lines

    printer = console(stderr=True)
    line = Text("error: ", style="bold red")
    if error.where:
        line.append(f"{plain(error.where)}: ", style="bold")
    line.append(plain_lines(error.message), style="not bold")
    printer.print(line)
    if error.hint:
        printer.print(
            Text("  hint: ", style="cyan").append(plain_lines(error.hint), style="not bold")
        )
