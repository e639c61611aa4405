"""`agency observe`: facts of this machine, for whoever spins it up or examines it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click
from pydantic import ValidationError

from agency.control.config import load_config
from agency.errors import UsageError
from agency.spinup.observe.answers import Machine, answer
from agency.spinup.observe.questions import MAX_BYTES, Answers, Questions


@click.command()
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("/etc/agency/control.json"),
    show_default=True,
    help="The control plane's configuration on this machine.",
)
@click.option("--follow", is_flag=True, help="Answer each line that is read, until the last.")
@click.option("--json", "as_json", is_flag=True, help="JSON is what it prints anyhow.")
def observe(config: Path, follow: bool, as_json: bool) -> None:  # noqa: ARG001 - always JSON
    """Answer the questions on standard input about the agency on this machine, as root.

    Reads `{"questions": [{"what": "schema"}, ...]}` and prints one answer to each, as JSON. It
    changes nothing.
    """
    source = sys.stdin.buffer
    if not follow:
        click.echo(_answers(config, source.read(MAX_BYTES + 1)).model_dump_json())
        return
    while line := source.readline(MAX_BYTES + 1):
        click.echo(_answers(config, line).model_dump_json())


def _answers(config: Path, data: bytes) -> Answers:
    if len(data) > MAX_BYTES:
        raise UsageError(f"more than {MAX_BYTES} bytes of questions", where="standard input")
    try:
        questions = Questions.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"])) or "document"
        raise UsageError(f"{place}: {first['msg']}", where="standard input") from None
    machine = Machine(load_config(config))
    return asyncio.run(answer(machine, questions.questions))
