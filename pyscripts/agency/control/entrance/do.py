"""Command `agency do`: the commands of the control plane, given to it by its socket or by HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from agency.clock import Clock, new_id
from agency.commandline import console, emit, json_option
from agency.control.entrance.attaching import TAKING, VALUED, Attached, attach
from agency.control.entrance.command import read_value, request_of
from agency.control.entrance.terminal import (
    Option,
    SuggestingGroup,
    add_commands,
    attach_option,
    timeout_option,
    value_option,
)
from agency.control.grammar.characters import escape
from agency.control.grammar.command import Command
from agency.control.grammar.printing import format_command
from agency.control.grammar.spec import CommandSpec
from agency.errors import ExitCode, PrerequisiteError, UsageError

if TYPE_CHECKING:
    from pydantic import SecretStr
    from rich.console import Console

    from agency.control.entrance.http_client import ApiClient, RefusedByApiError
    from agency.protocols import CommandResult

DEFAULT_TIMEOUT_S = 120.0
_SOON_S = 2.0  # with --no-wait: what ends in this time is answered all the same
_NOT_FOR_US = ("denied", "unsupported")


@dataclass(frozen=True, slots=True)
class Way:
    """The way to a control plane, and how long its answer is waited for."""

    socket_file: Path | None
    url: str | None
    token_file: Path | None
    request_id: str
    timeout_s: float
    no_wait: bool

    @classmethod
    def here(cls, socket_file: Path | None, timeout_s: float) -> Way:
        """Return the way by a socket of this machine."""
        return cls(socket_file, None, None, new_id("d"), timeout_s, no_wait=False)

    @property
    def patience_s(self) -> float:
        """The longest wait for the end."""
        return _SOON_S if self.no_wait else self.timeout_s


@dataclass(frozen=True, slots=True)
class Given:
    """A command, and what goes with it: a document, or the value of a secret."""

    text: str
    document: str = ""
    value: SecretStr | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """Answer of a control plane to a command."""

    said: str
    id: str
    outcome: str
    text: str
    block: str = ""
    operation: str = ""
    trace: str = ""
    digest: str = ""

    def as_json(self) -> dict[str, object]:
        """Return it as `--json` prints it."""
        return {
            "said": self.said,
            "id": self.id,
            "operation": self.operation,
            "outcome": self.outcome,
            "ok": self.outcome == "done",
            "trace": self.trace,
            **({"digest": self.digest} if self.digest else {}),
            "reply": {"text": self.text, "block": self.block},
        }

    def exit_code(self, *, no_wait: bool) -> ExitCode:
        """Return the exit status; with `no_wait` a command that was taken is enough."""
        if self.outcome == "done" or (no_wait and self.outcome == "unfinished"):
            return ExitCode.DONE
        return ExitCode.USAGE if self.outcome == "not-understood" else ExitCode.BAD


@click.group(cls=SuggestingGroup, epilog="For example: agency do agents stop pm")
def do() -> None:
    """Give a command to the control plane: those of the control room, in a terminal.

    Without --url it goes by the socket of this machine's control plane, which is for root on a
    host and for the user who ran `agency up`. With --url and --token-file it goes by HTTP, in the
    name of the person whose token that is.

    Exit status: 0 done (with --no-wait: taken), 1 refused, failed or without an answer, 2 not
    understood, 3 no control plane answers there, or not to this user or token.
    """


def say(
    command: Command,
    socket_file: Path | None,
    url: str | None,
    token_file: Path | None,
    request_id: str | None,
    timeout_s: float,
    no_wait: bool,
    as_json: bool,
    document_file: Path | None = None,
    value_stdin: bool = False,
) -> int:
    """Give a command by the way that the options name; return the exit status."""
    if (url is None) is not (token_file is None):
        raise UsageError("--url and --token-file go together")
    if url is not None and socket_file is not None:
        raise UsageError("give one of --url and --socket")
    way = Way(socket_file, url, token_file, request_id or new_id("d"), timeout_s, no_wait)
    printer = console(stderr=True)

    def tell(text: str) -> None:
        if not as_json:
            printer.print(_shown(text))

    if url is not None and command.name == "audit export":
        _client(way).export(click.echo)
        return int(ExitCode.DONE)
    attached = attach(format_command(command), document_file)
    given = Given(attached.text, attached.document, read_value() if value_stdin else None)
    told = give_by_socket(given, way, tell) if url is None else _by_http(given, way, tell)
    emit(told.as_json(), as_json=as_json, human=lambda out: _show(out, told, no_wait=no_wait))
    return int(told.exit_code(no_wait=no_wait))


def tell_nobody(_text: str) -> None:
    """Ignore a report."""


def give_by_socket(given: Given, way: Way, tell: Callable[[str], None] = tell_nobody) -> Told:
    """Give a command by the socket of a control plane of this machine.

    Raises:
        PrerequisiteError: none runs here, or it is not for this user.
        CommandLostError: there was no result in time.
    """
    from agency.control.entrance.client import ask, find_socket

    attached = Attached(given.text, given.document)
    request = request_of(attached, way.request_id, way.patience_s)
    if given.value is not None:
        request = request.model_copy(update={"value": given.value})
    path = way.socket_file if way.socket_file is not None else find_socket()
    result: CommandResult = asyncio.run(ask(path, request, tell, clock=Clock()))
    if result.outcome in _NOT_FOR_US:
        raise PrerequisiteError(
            result.text, where=str(path), hint="run it as root, with the host's own `agency`"
        )
    return Told(
        said=result.said or given.text,
        id=way.request_id,
        outcome=str(result.outcome),
        text=result.text,
        block=result.block,
        operation=result.operation,
        trace=result.trace,
    )


def _client(way: Way) -> ApiClient:
    from agency.control.entrance.http_client import ApiClient, checked_url, read_token

    assert way.url is not None
    assert way.token_file is not None
    return ApiClient(checked_url(way.url), read_token(way.token_file))


def _by_http(given: Given, way: Way, tell: Callable[[str], None]) -> Told:
    from agency.control.entrance.http_client import RefusedByApiError

    client = _client(way)
    until = time.monotonic() + way.patience_s
    try:
        with_it = {"document": given.document} if given.document else {}
        if given.value is not None:
            with_it["value"] = given.value.get_secret_value()
        taken = client.give(
            given.text, way.request_id, Clock().now_ms(), max(until, _least()), with_it
        )
        ended = taken if taken["final"] else client.follow(taken["id"], tell, until)
    except RefusedByApiError as error:
        return _refused(given.text, way, error)
    if ended is None:
        note = f"there is no answer within {way.patience_s:g} s; it goes on"
        return _of(taken, way, outcome="unfinished", reply={"text": note, "block": ""})
    return _of(ended, way, outcome=ended["state"], reply=ended["reply"] or {})


def _least() -> float:
    return time.monotonic() + _SOON_S


def _of(operation: Mapping[str, Any], way: Way, outcome: str, reply: Mapping[str, Any]) -> Told:
    return Told(
        said=operation["command"],
        id=way.request_id,
        outcome=outcome,
        text=str(reply.get("text") or f"It is {operation['state']}."),
        block=str(reply.get("block") or ""),
        operation=operation["id"],
        trace=operation["trace"],
        digest=operation["digest"],
    )


def _refused(text: str, way: Way, error: RefusedByApiError) -> Told:
    code = str(error.problem.get("code"))
    return Told(
        said=text,
        id=way.request_id,
        outcome="not-understood" if code == "not-understood" else "refused",
        text=error.message,
        block=str(error.problem.get("where") or ""),
        trace=str(error.problem.get("trace") or ""),
    )


def _show(printer: Console, told: Told, *, no_wait: bool) -> None:
    good = told.exit_code(no_wait=no_wait) is ExitCode.DONE
    printer.print(_shown(told.text, "" if good else "red"))
    if told.block:
        printer.print(_shown(told.block))
    if told.outcome == "unfinished":
        printer.print(_shown(f"ask for its answer: the same command with --id {told.id}"))


def _shown(text: str, style: str = "") -> Text:
    return Text("\n".join(escape(line) for line in text.split("\n")), style=style)


def _options(spec: CommandSpec) -> tuple[Option, ...]:
    """Return the options of a command beside its own."""
    name = f"{spec.noun} {spec.verb}"
    return (
        *([attach_option("its Gosuto")] if name in TAKING else []),
        *([value_option("of one line or more")] if name in VALUED else []),
        *_EVERYWHERE,
    )


_EVERYWHERE: tuple[Option, ...] = (
    click.option(
        "--socket",
        "socket_file",
        type=click.Path(path_type=Path),
        help="The control plane's socket; default: the local agency's, or this host's.",
    ),
    click.option("--url", metavar="URL", help="Address of the HTTP interface."),
    click.option(
        "--token-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="File with a token of `agency tokens create`, readable by nobody else.",
    ),
    click.option(
        "--id",
        "request_id",
        metavar="ID",
        help="Name of this request. The same again does not run twice, but gives the answer.",
    ),
    timeout_option(DEFAULT_TIMEOUT_S, "the answer; an approval may take longer"),
    click.option("--no-wait", is_flag=True, help="Do not wait for the end; it goes on."),
    json_option,
)
add_commands(do, _options, say)
