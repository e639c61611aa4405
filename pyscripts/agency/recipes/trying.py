"""Command `agency recipes try`, and `agency recipes teardown` for what it kept."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

import click

from agency.clock import Clock
from agency.commandline import emit, json_option
from agency.coopcloud import find_abra
from agency.docker import DEFAULT_URL
from agency.errors import BadInputError, PrerequisiteError, UsageError
from agency.recipes.client import parse_route
from agency.recipes.naming import is_run_id, run_id
from agency.recipes.outcome import STAGES, exit_code
from agency.recipes.registries import NO_REGISTRIES, read_registries
from agency.recipes.run import janitor, places
from agency.recipes.run.checkout import parse_source
from agency.recipes.run.conduct import conduct
from agency.recipes.run.prepare import Place, Wanted
from agency.recipes.run.swarm import Swarm
from agency.terminal import plain_lines

_PATH = click.Path(path_type=Path)
_DIRECTORY = click.Path(path_type=Path, exists=True, file_okay=False)
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command("try")
@click.argument("source", metavar="PATH_OR_URL[@REF]")
@click.option("--stage", "stages", multiple=True, type=click.Choice(STAGES), help="Only this one.")
@click.option("--keep", is_flag=True, help="Leave the app running; see `recipes teardown`.")
@click.option(
    "--tests", type=_DIRECTORY, help="Suites of the stages; default: the recipe's tests/."
)
@click.option("--pr", type=click.IntRange(1, 10**10 - 1), help="Pull request, for the app's name.")
@click.option("--zone", default="ci.localhost", show_default=True, help="Domain of the apps.")
@click.option("--through", default="https://127.0.0.1", show_default=True, help="The proxy's URL.")
@click.option("--ca", type=_FILE, help="Certificate that must have signed the proxy's.")
@click.option(
    "--artifacts", type=_PATH, default=Path("artifacts/recipes"), show_default=True, help="Results."
)
@click.option(
    "--deploy-timeout",
    type=click.IntRange(5, 7200),
    default=900,
    show_default=True,
    help="Seconds.",
)
@click.option(
    "--suite-timeout", type=click.IntRange(5, 7200), default=900, show_default=True, help="Seconds."
)
@click.option(
    "--run-timeout",
    type=click.IntRange(5, 86400),
    default=3600,
    show_default=True,
    help="Seconds for all stages together.",
)
@click.option(
    "--registry-config", type=_FILE, help="Docker's config.json with log-ins at registries."
)
@json_option
def try_(
    source: str,
    stages: tuple[str, ...],
    keep: bool,
    tests: Path | None,
    pr: int | None,
    zone: str,
    through: str,
    ca: Path | None,
    artifacts: Path,
    deploy_timeout: int,
    suite_timeout: int,
    run_timeout: int,
    registry_config: Path | None,
    as_json: bool,
) -> None:
    """Deploy a recipe on the swarm of this machine, test it, and remove it again.

    A directory without REF is taken as it is on disk. Exit status 0: every stage that could be
    shown passed. 1: one failed, or something of the app is left. 3: a program or the swarm is
    missing.
    """
    wanted = Wanted(parse_source(source), stages or STAGES, keep, tests, pr, zone)
    url = docker_url()
    place = Place(
        abra=find_abra(url, timeout_s=deploy_timeout).program,
        docker_url=url,
        route=parse_route(through, ca),
        artifacts=artifacts,
        runs=places.runs_directory(),
        deploy_s=deploy_timeout,
        suite_s=suite_timeout,
        clock=Clock(),
        say=say,
        run_s=run_timeout,
        registries=read_registries(registry_config) if registry_config else NO_REGISTRIES,
    )
    report = conduct(wanted, place, run_id(secrets.token_bytes(5)))
    emit(report.as_dict(), as_json=as_json, human=lambda out: out.print("\n".join(report.lines())))
    if report.teardown.kept:
        say(f"the app is kept; remove it by: agency recipes teardown {report.run}")
    code = exit_code(report.outcome)
    if code:
        raise click.exceptions.Exit(int(code))


@click.command()
@click.argument("run")
@json_option
def teardown(run: str, as_json: bool) -> None:
    """Remove the app that RUN kept, with its volumes and secrets.

    Exit status 1: something is left.
    """
    if not is_run_id(run):
        raise UsageError(f"not the id of a run: {run[:40]!r}", hint="such as r0123abcd")
    for path in places.directories(places.runs_directory()):
        if run not in path.name:
            continue
        held = places.hold(path)
        if held is None:
            raise PrerequisiteError("this run is still going on", where=path.name)
        try:
            record = places.read_record(path)
            if record is not None and record.run == run:
                _tear_down(record, held, as_json)
                return
        finally:
            held.release()
    raise BadInputError("no app of this run is kept here", where=run)


def _tear_down(record: places.Record, held: places.Private, as_json: bool) -> None:
    reaped = janitor.end_dead(record, held, Swarm(record.docker_url, Clock()))
    answer = {"run": record.run, "domain": record.domain, "left": list(reaped.left)}
    told = (
        f"still there: {', '.join(reaped.left)}" if reaped.left else f"{record.domain} is removed"
    )
    emit(answer, as_json=as_json, human=lambda out: out.print(told))
    if reaped.left:
        raise click.exceptions.Exit(1)


def docker_url() -> str:
    """Return the Docker Engine that abra talks to."""
    return os.environ.get("DOCKER_HOST") or DEFAULT_URL


def say(text: str) -> None:
    """Tell the progress on standard error, so that `--json` stays one document."""
    click.echo(plain_lines(text), file=sys.stderr)
