"""`agency workspace audit`: the service, its client, and commands that read the log."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agency.commandline import emit, json_option
from agency.protocols import SOCKET, AuditClient, Receipt
from agency.terminal import plain
from agency.workspace.audit.watch.commands import watch

if TYPE_CHECKING:
    from rich.console import Console

    from agency.chain import Head
    from agency.workspace.audit.status import Status
    from agency.workspace.audit.verify import Report

_DIRECTORY = "/var/log/agency-agents"
_HEAD = re.compile(r"([1-9][0-9]{0,11}):([0-9a-f]{64})")

_directory_option = click.option(
    "--directory",
    type=click.Path(path_type=Path, readable=False),
    default=_DIRECTORY,
    show_default=True,
    help="Where the logs are; a copy of them will do.",
)
_socket_option = click.option(
    "--socket",
    "socket_path",
    type=click.Path(path_type=Path, readable=False),
    default=SOCKET,
    show_default=True,
    help="The socket of the service.",
)


@click.group()
def audit() -> None:
    """Keep, verify and read the agents' audit log."""


audit.add_command(watch)


@audit.command()
@click.option(
    "--retention-days",
    type=click.IntRange(1, 3650),
    required=True,
    help="Days after which a closed file is removed.",
)
@_directory_option
@json_option
def serve(retention_days: int, directory: Path, as_json: bool) -> None:  # noqa: ARG001 - errors
    """Write the agents' audit log (started by agency-audit.socket) until SIGTERM."""
    from agency.clock import Clock
    from agency.commandline import log_to_stderr
    from agency.workspace.audit.bounds import Bounds
    from agency.workspace.audit.service.activation import activated_socket
    from agency.workspace.audit.service.peers import agent_of
    from agency.workspace.audit.service.server import AuditServer, serve_until_signal
    from agency.workspace.audit.storage.logs import Logs
    from agency.workspace.audit.storage.place import Place

    log_to_stderr()
    listening = activated_socket(os.environ, os.getpid())
    clock, bounds = Clock(), Bounds()
    with Place(directory) as place:
        place.lock()
        logs = Logs(place, clock, bounds, retention_days=retention_days)
        server = AuditServer(logs, agent_of, clock, bounds)
        asyncio.run(serve_until_signal(server, listening))


@audit.command()
@click.argument("event")
@click.option("--detail", "details", multiple=True, metavar="KEY=VALUE", help="A fact about it.")
@_socket_option
@json_option
def record(event: str, details: tuple[str, ...], socket_path: Path, as_json: bool) -> None:
    """Put EVENT on record for the agent whose user runs this. It must hold nothing secret.

    An event is words of a-z and 0-9, joined by dots, dashes and underscores: task.done.
    """
    detail = {}
    for given in details:
        key, equals, value = given.partition("=")
        if not equals or key in detail:
            raise click.BadParameter(f"{key}: give KEY=VALUE, each key once", param_hint="--detail")
        detail[key] = value

    async def send() -> Receipt:
        client = AuditClient(socket_path)
        try:
            return await client.record(event, detail)
        finally:
            await client.close()

    receipt = asyncio.run(send())
    emit(
        {"sequence": receipt.sequence, "hash": receipt.hash},
        as_json=as_json,
        human=lambda console: console.print(f"on record: {receipt.sequence}:{receipt.hash}"),
    )


@audit.command()
@click.option("--agent", help="This agent's log alone.")
@click.option(
    "--head",
    metavar="N:HASH",
    help="With --agent: a record that was kept elsewhere, as `record` prints it, must be there.",
)
@_directory_option
@json_option
def verify(agent: str | None, head: str | None, directory: Path, as_json: bool) -> int:
    """Check every log from its first kept record to its head; exit 1 where one is broken."""
    from agency.errors import PrerequisiteError
    from agency.workspace.audit.storage.place import Place, agents_in
    from agency.workspace.audit.verify import verify_agent

    expected = _parse_head(agent, head)
    with Place(directory) as place:
        agents = agents_in(place.names())
        if agent is not None and agent not in agents:
            raise PrerequisiteError(
                f"there is no log of an agent {agent!r}",
                where=str(directory),
                hint=f"there are: {', '.join(agents) or 'none'}",
            )
        chosen = [agent] if agent is not None else list(agents)
        reports = [verify_agent(place, one, expected) for one in chosen]
    ok = all(report.ok for report in reports)
    emit(
        {"ok": ok, "agents": [report.as_dict() for report in reports]},
        as_json=as_json,
        human=lambda console: _print_reports(console, reports),
    )
    return 0 if ok else 1


@audit.command()
@_directory_option
@_socket_option
@json_option
def status(directory: Path, socket_path: Path, as_json: bool) -> None:
    """Say how the logs are kept, and whether the kernel lets them only grow."""
    from agency.workspace.audit.status import status_of

    found = status_of(directory, socket_path)
    emit(found.as_dict(), as_json=as_json, human=lambda console: _print_status(console, found))


def _parse_head(agent: str | None, head: str | None) -> Head | None:
    from agency.chain import Head

    if head is None:
        return None
    found = _HEAD.fullmatch(head)
    if agent is None or found is None:
        raise click.BadParameter("give --agent NAME and N:HASH", param_hint="--head")
    return Head(int(found[1]), found[2])


def _print_reports(console: Console, reports: list[Report]) -> None:
    from rich.text import Text

    if not reports:
        console.print("there is no log yet")
    for report in reports:
        if report.broken is not None:
            broken = report.broken
            text = f" {report.agent}: {broken.file}:{broken.line}: {broken.reason}"
            console.print(Text("broken", style="red").append(plain(text), style="default"))
            continue
        notes = f", {report.torn} torn by crashes" if report.torn else ""
        notes += f", {report.unfinished} bytes unfinished" if report.unfinished else ""
        text = (
            f" {report.agent}: records {report.first} to {report.head.sequence} "
            f"in {report.files} files{notes}; head {report.head.hash}"
        )
        console.print(Text("good", style="green").append(text, style="default"))


def _print_status(console: Console, found: Status) -> None:
    console.print(f"socket {found.socket}: {'there' if found.listening else 'not there'}")
    for entry in found.agents:
        kept = "append-only" if entry.append_only else f"not append-only ({entry.reason})"
        console.print(
            f"{entry.agent}: record {entry.sequence}, {entry.bytes} bytes, "
            f"{entry.closed_files} closed files, {kept}",
            markup=False,
        )
    if not found.agents:
        console.print("there is no log yet")
