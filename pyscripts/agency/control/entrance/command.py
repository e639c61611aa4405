"""Command `agency command`: a command of the control room, given to the control plane itself."""

from __future__ import annotations

import asyncio
import getpass
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.text import Text

from agency.clock import Clock, new_id
from agency.commandline import console, emit, json_option
from agency.control.entrance.attaching import VALUED, Attached, attach, check_takes
from agency.control.entrance.terminal import attach_option, timeout_option, value_option
from agency.control.entrance.words import completed, text_of_argv
from agency.control.grammar.characters import escape
from agency.errors import ExitCode, PrerequisiteError, UsageError

if TYPE_CHECKING:
    from pydantic import SecretStr
    from rich.console import Console

    from agency.protocols import CommandRequest, CommandResult

DEFAULT_TIMEOUT_S = 30.0
_EXITS: Mapping[str, ExitCode] = {"done": ExitCode.DONE, "not-understood": ExitCode.USAGE}
_NOT_FOR_US = ("denied", "unsupported")


@click.command(
    context_settings={"ignore_unknown_options": True},
    epilog="For example: agency command agents stop pm",
)
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="WORDS...")
@click.option(
    "--socket",
    "socket_file",
    type=click.Path(path_type=Path),
    help="The control plane's socket; default: the local agency's, or this host's.",
)
@attach_option("the Gosuto of `gosuto set` and `gosuto validate`")
@value_option("for `secrets set` and `secrets rotate`")
@click.option(
    "--id",
    "request_id",
    metavar="ID",
    help="Name of this request. The same again does not run twice, but gives the answer.",
)
@timeout_option(DEFAULT_TIMEOUT_S, "the answer")
@json_option
def command(
    words: tuple[str, ...],
    socket_file: Path | None,
    document_file: Path | None,
    value_stdin: bool,
    request_id: str | None,
    timeout_s: float,
    as_json: bool,
) -> int:
    """Give a command of the control room to the control plane, past the room.

    WORDS are those of the room, without the prefix: `agency room --help` lists them. It is for
    root on a host, and for the user who ran `agency up`. It works while the homeserver is away or
    the bot cannot answer in the room; policy, queues and audit log are the same. If the control
    plane ends meanwhile, its next start is asked for the answer, with the same id.

    Exit status: 0 done, 1 refused, failed or without an answer, 2 not understood, 3 no control
    plane runs here, or it is not for this user.
    """
    from agency.control.entrance.client import ask, find_socket

    attached = attach(text_of(words), document_file)
    request = request_of(attached, request_id or new_id("c"), timeout_s)
    if value_stdin:
        check_takes(attached.text, VALUED, "value")
        request = request.model_copy(update={"value": read_value()})
    path = socket_file if socket_file is not None else find_socket()
    printer = console(stderr=True)

    def tell(text: str) -> None:
        if not as_json:
            printer.print(_shown(text))

    result = asyncio.run(ask(path, request, tell, clock=Clock()))
    if result.outcome in _NOT_FOR_US:
        raise PrerequisiteError(
            result.text, where=str(path), hint="run it as root, with the host's own `agency`"
        )
    emit(_as_json(request, result), as_json=as_json, human=lambda out: _show(out, request, result))
    return int(_EXITS.get(result.outcome, ExitCode.BAD))


def read_value() -> SecretStr:
    """Read the value of a secret from standard input; from a terminal, without echo.

    Raises:
        UsageError: it is empty, too large, or not text.
    """
    from pydantic import SecretStr

    from agency.protocols import MAX_VALUE

    if sys.stdin.isatty():
        text = getpass.getpass("Value: ")
    else:
        data = sys.stdin.buffer.read(4 * MAX_VALUE + 1)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            # Without the cause: its message would quote the value.
            raise UsageError("the value on standard input is not UTF-8 text") from None
    if not text.strip() or len(text) > MAX_VALUE:
        raise UsageError(
            f"the value on standard input has {len(text)} characters",
            hint=f"it has 1 to {MAX_VALUE}",
        )
    return SecretStr(text)


def text_of(words: tuple[str, ...]) -> str:
    """Make the text of a command from words of a shell; one word alone is taken as a text."""
    return completed(words[0]) if len(words) == 1 else text_of_argv(words)


def request_of(attached: Attached, request_id: str, timeout_s: float) -> CommandRequest:
    """Make the request for a command.

    Raises:
        UsageError: the id has another form.
    """
    from pydantic import ValidationError

    from agency.protocols import CommandRequest
    from agency.settings import explain

    now_ms = Clock().now_ms()
    try:
        return CommandRequest(
            id=request_id,
            command=attached.text,
            document=attached.document,
            sent_ts=now_ms,
            wait_s=timeout_s,
        )
    except ValidationError as error:
        raise UsageError(
            explain(error), hint="an id has 1 to 64 of A-Z, a-z, 0-9, dot, dash and underscore"
        ) from None


def _as_json(request: CommandRequest, result: CommandResult) -> dict[str, object]:
    return {
        "said": result.said or request.command,
        "id": request.id,
        "operation": result.operation,
        "outcome": str(result.outcome),
        "ok": result.outcome == "done",
        "trace": result.trace,
        "reply": {"text": result.text, "block": result.block},
    }


def _show(printer: Console, request: CommandRequest, result: CommandResult) -> None:
    printer.print(_shown(result.text, "" if result.outcome == "done" else "red"))
    if result.block:
        printer.print(_shown(result.block))
    if result.outcome == "unfinished":
        printer.print(_shown(f"ask for its answer: the same command with --id {request.id}"))


def _shown(text: str, style: str = "") -> Text:
    return Text("\n".join(escape(line) for line in text.split("\n")), style=style)
