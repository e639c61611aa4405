"""Command `agency agent try`: an agent in a terminal, before it is anybody's."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from agency.commandline import emit, json_option
from agency.errors import ExitCode

TOKENS = 500_000


@click.command("try")
@click.argument("template")
@click.option("--name", "agent", default="trial", show_default=True, help="The agent's name.")
@click.option("--var", "given", multiple=True, metavar="NAME=VALUE", help="Of the template.")
@click.option(
    "--task",
    "tasks",
    multiple=True,
    help="A task; may be given several times. Without: typed, or one on standard input.",
)
@click.option("--script", "script_name", help="Another script of the scripted model.")
@click.option("--model", help="A real model in place of the script, by its provider's name.")
@click.option("--model-url", help="Its provider's address, without /v1.")
@click.option(
    "--model-kind",
    type=click.Choice(["openai", "anthropic"]),
    default="openai",
    show_default=True,
    help="What the provider speaks.",
)
@click.option(
    "--model-key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with the provider's key; - asks for it, or reads standard input.",
)
@click.option(
    "--secret-file",
    "secret_files",
    multiple=True,
    metavar="NAME=FILE",
    help="A secret of the Gosuto, from a file.",
)
@click.option(
    "--repository",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Coding tools work in a clone of it.  [default: an example]",
)
@click.option(
    "--tokens",
    type=click.IntRange(1, 10_000_000_000),
    default=TOKENS,
    show_default=True,
    help="Tokens that the trial may use.",
)
@json_option
def try_command(
    template: str,
    agent: str,
    given: tuple[str, ...],
    tasks: tuple[str, ...],
    script_name: str | None,
    model: str | None,
    model_url: str | None,
    model_kind: Literal["openai", "anthropic"],
    model_key_file: Path | None,
    secret_files: tuple[str, ...],
    repository: Path | None,
    tokens: int,
    as_json: bool,
) -> int:
    """Try an agent of TEMPLATE, or of a Gosuto file, here in the terminal.

    Gateway, MCP servers, proxy and policy are real; the terminal is its rooms and people. The model
    is a script unless --model names one. What the policy asks for is asked here; without a terminal
    it is denied. Exits with 1 if a task has no answer. Nothing is kept.
    """
    from agency.agent.trying.preparing import Wanted, pairs, real_model, secrets_of
    from agency.agent.trying.running import run_trial  # slow to import: only for a trial

    trial = run_trial(
        Wanted(template, agent, pairs(given, "--var"), script_name, repository),
        tasks,
        real_model(model, model_url, model_kind, model_key_file),
        secrets_of(secret_files),
        tokens,
        key_from_stdin=model_key_file == Path("-"),
        as_json=as_json,
    )
    emit(
        trial.report(),
        as_json=as_json,
        human=lambda _: trial.terminal.show(trial.summary(), "dim"),
    )
    return int(ExitCode.DONE if trial.ok else ExitCode.BAD)
