"""Command `agency agent scripted-model`: a model for trials and tests, of a file."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from agency.commandline import json_option, log_to_stderr
from agency.listening import listen

PORT = 8029


@click.command("scripted-model")
@click.argument("script")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=PORT,
    show_default=True,
    help="The port of loopback that it listens on.",
)
@click.option(
    "--key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Answer only who has the key in this file, as providers do.",
)
@json_option
def scripted_model(
    script: str,
    port: int,
    key_file: Path | None,
    as_json: bool,  # noqa: ARG001 - the root prints errors by it
) -> None:
    """Serve a scripted model, chat completions of a file, on loopback until SIGTERM.

    It is no language model: SCRIPT, a file or the name of a template, says what it answers. For
    trials and tests, with everything else real.
    """
    from agency.agent.keys import read_key  # only this command needs them
    from agency.agent.scripted.script import load_script
    from agency.agent.scripted.server import serve

    log_to_stderr()
    told = load_script(script)
    key = None if key_file is None else read_key(key_file)
    asyncio.run(serve(told, listen(port), key))
