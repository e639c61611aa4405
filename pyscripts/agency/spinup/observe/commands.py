"""`agency observe`: run a probe on this machine, for whoever spins it up or examines it.

Observer (elsewhere) ──one line: {"probe": NAME, "told": {…}}──▶ agency observe --follow
                     ◀─one line: {"evidence": {…}} or {"error": "…"}──┘
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import aiohttp
import click
from pydantic import Field, RootModel, ValidationError
from rich.console import Console

from agency.commandline import emit
from agency.control import load_config
from agency.errors import AgencyError, BadInputError, UsageError
from agency.settings import Strict, explain, parse
from agency.spinup.observe.machine import ThisMachine
from agency.spinup.probes.probe import Here, find, probes, run
from agency.spinup.record import UNREADABLE, Evidence, describe

MAX_BYTES = 1024 * 1024


class Request(Strict):
    """One line on standard input of `agency observe --follow`."""

    probe: str
    told: dict[str, object] = Field(default_factory=dict)


class _Told(RootModel[dict[str, object]]):
    """Input of one probe, on its own."""


class Answer(Strict):
    """One line on its standard output: evidence, or why there is none."""

    evidence: dict[str, object] | None = None
    error: str | None = None


@click.command()
@click.argument("name", required=False)
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("/etc/agency/control.json"),
    show_default=True,
    help="The control plane's configuration on this machine.",
)
@click.option("--list", "listed", is_flag=True, help="List the probes.")
@click.option("--follow", is_flag=True, help="Answer each line that is read, until the last.")
@click.option("--json", "as_json", is_flag=True, help="Evidence is printed as JSON anyhow.")
def observe(name: str | None, config: Path, listed: bool, follow: bool, as_json: bool) -> None:
    """Run the probe NAME on this machine, as root, and print its evidence as JSON.

    Input of a probe that needs some is one JSON object on standard input. Nothing is changed.
    """
    if listed:
        _print_list(as_json)
    elif follow:
        machine = ThisMachine(load_config(config))
        while line := sys.stdin.buffer.readline(MAX_BYTES + 1):
            click.echo(asyncio.run(answer(machine, _request(line))).model_dump_json())
    elif name is None:
        raise UsageError("name a probe", where="NAME", hint="`agency observe --list` names them")
    else:
        find(name)
        click.echo(json.dumps(_one(ThisMachine(load_config(config)), name)))


def _print_list(as_json: bool) -> None:
    known = {name: unit.summary for name, unit in sorted(probes().items())}

    def human(console: Console) -> None:
        for name, summary in known.items():
            console.print(f"{name:20}  {summary}", markup=False)

    emit(known, as_json=as_json, human=human)


def _bounded(data: bytes) -> bytes:
    if len(data) > MAX_BYTES:
        raise UsageError(f"more than {MAX_BYTES} bytes", where="standard input")
    return data


def _request(data: bytes, name: str | None = None) -> Request:
    try:
        if name is None:
            request = parse(Request, _bounded(data), where="standard input")
        else:
            request = Request(probe=name, told=parse(_Told, _bounded(data) or b"{}", where="").root)
        find(request.probe).told.model_validate(request.told)
    except BadInputError as error:
        raise UsageError(error.message, where="standard input") from None
    except ValidationError as error:
        raise UsageError(explain(error), where="standard input") from None
    return request


def _one(machine: Here, name: str) -> Evidence:
    data = b"" if sys.stdin.isatty() else sys.stdin.buffer.read(MAX_BYTES + 1)
    found = asyncio.run(answer(machine, _request(data, name)))
    if found.evidence is None:
        raise BadInputError(found.error or "no evidence", where=name)
    return found.evidence


async def answer(machine: Here, request: Request) -> Answer:
    """Run the probe that was asked for; one that cannot look says why."""
    try:
        return Answer(evidence=await run(machine, request.probe, request.told))
    except (AgencyError, OSError, aiohttp.ClientError, *UNREADABLE) as error:
        return Answer(error=describe(error))
