"""Command `agency tokens`: tokens of the HTTP interface, made here and put on record by digest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from agency.commandline import emit, json_option
from agency.control.entrance.do import DEFAULT_TIMEOUT_S, Given, Way, give_by_socket
from agency.control.entrance.words import text_of_argv
from agency.control.policy import Role
from agency.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from rich.console import Console

_SOCKET = click.option(
    "--socket",
    "socket_file",
    type=click.Path(path_type=Path),
    help="The control plane's socket; default: the local agency's, or this host's.",
)


@click.group()
def tokens() -> None:
    """Make and take back tokens of the HTTP interface; the control plane keeps their digests."""


@tokens.command("create")
@click.option("--person", metavar="MATRIX-ID", help="Whose it is, for example @alice:example.org.")
@click.option(
    "--role",
    type=click.Choice([str(role) for role in Role]),
    default=str(Role.VIEWER),
    show_default=True,
    help="The most that it gives. The person must hold it.",
)
@click.option("--days", type=click.IntRange(1, 365), default=30, show_default=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the token to a new file of mode 0600, and do not show it.",
)
@click.option(
    "--say",
    "in_room",
    is_flag=True,
    help="Only make it, and print what its person says in the control room to put it on record.",
)
@_SOCKET
@json_option
def create(
    person: str | None,
    role: str,
    days: int,
    output: Path | None,
    in_room: bool,
    socket_file: Path | None,
    as_json: bool,
) -> int:
    """Make a token, put its digest on record, and show it: this once, and never again.

    On a host this is for root, who may name any person of the agency. Other people make a token of
    their own anywhere with --say, and say the line that it prints in the control room.
    """
    from agency.control.kept.minting import digest_of, new_token

    if in_room is (person is not None):
        raise UsageError("give one of --person and --say", hint="--say makes a token of yours")
    token = new_token()
    words = ["tokens", "create", f"sha256:{digest_of(token)}", f"--role={role}", f"--days={days}"]
    text = text_of_argv([*words, *([] if person is None else [f"--person={person}"])])
    if output is not None:
        _write(output, token)
    told = f"Say in the control room: {text}"
    good = True
    if not in_room:
        made = give_by_socket(Given(text), Way.here(socket_file, DEFAULT_TIMEOUT_S))
        told, good = made.text, made.outcome == "done"
    if not good and output is not None:
        output.unlink(missing_ok=True)
    shown = token if good and output is None else None

    def human(printer: Console) -> None:
        printer.print(told)
        if shown is not None:
            printer.print(shown)

    facts = {
        "ok": good,
        "text": told,
        "token": shown,
        "file": None if output is None else str(output),
    }
    emit(facts, as_json=as_json, human=human)
    return int(ExitCode.DONE if good else ExitCode.BAD)


def _write(output: Path, token: str) -> None:
    import os

    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(
            f"cannot make the file: {error.strerror}", where=str(output), hint="name a new file"
        ) from error
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{token}\n")


@tokens.command("list")
@_SOCKET
@json_option
def list_(socket_file: Path | None, as_json: bool) -> int:
    """Show the tokens on record; the same as `agency do tokens list`."""
    return _passed(["tokens", "list"], socket_file, as_json)


@tokens.command("revoke")
@click.argument("token", metavar="TOKEN-ID")
@_SOCKET
@json_option
def revoke(token: str, socket_file: Path | None, as_json: bool) -> int:
    """Take a token back for ever; the same as `agency do tokens revoke`."""
    return _passed(["tokens", "revoke", token], socket_file, as_json)


def _passed(words: list[str], socket_file: Path | None, as_json: bool) -> int:
    told = give_by_socket(Given(text_of_argv(words)), Way.here(socket_file, DEFAULT_TIMEOUT_S))

    def human(printer: Console) -> None:
        printer.print(told.text)
        if told.block:
            printer.print(told.block)

    emit(told.as_json(), as_json=as_json, human=human)
    return int(told.exit_code(no_wait=False))
