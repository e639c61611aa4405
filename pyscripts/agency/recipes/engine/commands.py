"""`agency recipes runner` and `agency recipes run`: the programs of the engine."""

from __future__ import annotations

from pathlib import Path

import click

from agency.commandline import emit, json_option
from agency.errors import UsageError
from agency.recipes.configuration import DEFAULT
from agency.recipes.naming import is_run_id

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=DEFAULT,
    show_default=True,
    help="What NixOS wrote of recipe CI.",
)


@click.command()
@config_option
def runner(config: Path) -> None:
    """Take runs from the queue, and have them run, until SIGTERM.

    Exit status 3: another engine has the queue, or it cannot be read.
    """
    import asyncio
    import os

    from agency.clock import Clock
    from agency.commandline import log_to_stderr
    from agency.recipes.configuration import read_config
    from agency.recipes.engine.serving import own_command, serve

    log_to_stderr()
    docker_url = os.environ.get("DOCKER_HOST")
    asyncio.run(serve(read_config(config), own_command(config), docker_url, Clock()))


@click.command()
@click.argument("run")
@config_option
@json_option
def run(run: str, config: Path, as_json: bool) -> None:
    """Carry out RUN of the queue, as an engine does; its result is in the state of recipe CI.

    Exit status 0: it passed. 1: it failed. 3: a program or the swarm is missing.
    """
    import os

    from agency.clock import Clock
    from agency.orphans import adopt
    from agency.recipes.configuration import read_config
    from agency.recipes.engine.single import perform_run
    from agency.recipes.outcome import exit_code

    if not is_run_id(run):
        raise UsageError(f"not the id of a run: {run[:40]!r}", hint="such as r0123abcd")
    _mark(run)
    adopt()
    report = perform_run(read_config(config), run, os.environ.get("DOCKER_HOST"), Clock())
    emit(report.as_dict(), as_json=as_json, human=lambda out: out.print("\n".join(report.lines())))
    code = exit_code(report.outcome)
    if code:
        raise click.exceptions.Exit(int(code))


def _mark(run: str) -> None:
    """Carry the run's marker, by which it is found and ended; an engine of ours gave it already.

    The environment that others see of a process is that of its last exec.
    """
    import os
    import sys

    from agency.children import MARKER_VARIABLE, marked_environment

    marked = marked_environment(run)
    if os.environ.get(MARKER_VARIABLE) == marked[MARKER_VARIABLE]:
        return
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **marked})  # noqa: S606


@click.command()
@click.argument("engine", type=click.Choice(["drone", "woodpecker", "gitea-actions"]))
@config_option
@json_option
def pipeline(engine: str, config: Path, as_json: bool) -> None:
    """Print the pipeline file of ENGINE, for the repository that starts runs there."""
    from agency.recipes.configuration import read_config
    from agency.recipes.engine.remote.pipeline import FILES
    from agency.recipes.engine.remote.pipeline import pipeline as write

    read = read_config(config)
    text = write(engine, read.max_tests, read.build_timeout_minutes)
    told = {"file": FILES[engine], "text": text}
    emit(told, as_json=as_json, human=lambda out: out.print(text, end=""))
