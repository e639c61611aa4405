"""`agency recipes queue`: what waits and runs, and runs that a person adds or cancels."""

from __future__ import annotations

import asyncio
import getpass
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agency.commandline import emit, json_option
from agency.errors import BadInputError, UsageError
from agency.recipes.engine.commands import config_option
from agency.recipes.naming import is_run_id, run_id
from agency.recipes.outcome import STAGES

if TYPE_CHECKING:
    from agency.recipes.configuration import RecipesConfig
    from agency.recipes.engine.estimate import Place
    from agency.recipes.record.run import Order, Run
    from agency.recipes.record.runs import Runs


@click.group()
def queue() -> None:
    """Show and change the queue of runs."""


@queue.command("list")
@click.option("--all", "also_ended", is_flag=True, help="Also the latest run of each recipe.")
@config_option
@json_option
def list_(also_ended: bool, config: Path, as_json: bool) -> None:
    """List the runs that run and wait, with an estimate of when each starts and ends.

    It is made of the usual length of each recipe's past runs.
    """
    from agency.recipes.configuration import read_config

    rows = asyncio.run(_listed(read_config(config), also_ended))
    emit(
        {"runs": rows},
        as_json=as_json,
        human=lambda out: out.print("\n".join(map(_line, rows)) or "nothing runs or waits"),
    )


@queue.command()
@click.argument("recipe")
@click.argument("pull_request", metavar="PR", type=click.IntRange(1, 10**10 - 1))
@click.option("--stage", "stages", multiple=True, type=click.Choice(STAGES), help="Only this one.")
@click.option(
    "--token",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File with a token of the forge; default: the bot's, from the credentials.",
)
@config_option
@json_option
def add(
    recipe: str,
    pull_request: int,
    stages: tuple[str, ...],
    token: Path | None,
    config: Path,
    as_json: bool,
) -> None:
    """Queue a run of RECIPE at the head of its pull request PR.

    Exit status 1: the recipe is not enrolled, or the pull request is not open.
    """
    from agency.recipes.configuration import read_config

    run = asyncio.run(_add(read_config(config), recipe, pull_request, stages, token))
    told = {"run": run.id, "commit": run.order.commit, "state": run.state.value}
    emit(told, as_json=as_json, human=lambda out: out.print(f"{run.id} waits"))


@queue.command()
@click.argument("run")
@config_option
@json_option
def cancel(run: str, config: Path, as_json: bool) -> None:
    """Cancel RUN: at once if it waits; if it runs, its app is torn down first.

    Exit status 1: it has ended, or there is none of this id.
    """
    from agency.recipes.configuration import read_config

    if not is_run_id(run):
        raise UsageError(f"not the id of a run: {run[:40]!r}", hint="such as r0123abcd")
    found = asyncio.run(_cancel(read_config(config), run))
    told = "is cancelled" if found.state.ended else "is being torn down"
    emit(
        {"run": found.id, "state": found.state.value},
        as_json=as_json,
        human=lambda out: out.print(f"{found.id} {told}"),
    )


async def _listed(config: RecipesConfig, also_ended: bool) -> list[dict[str, object]]:
    from agency.clock import Clock
    from agency.recipes.engine.estimate import places
    from agency.recipes.record.run import RunState
    from agency.recipes.record.runs import open_runs

    clock = Clock()
    async with open_runs(config.state, clock) as runs:
        running = await runs.in_state(RunState.RUNNING)
        queued = await runs.in_state(RunState.QUEUED)
        usual = await _usual(runs, [*running, *queued])
        ended = [one for one in await runs.latest() if one.state.ended] if also_ended else []
    found = places(running, queued, usual, config.max_tests, clock.now_ms())
    return [_row(run, found.get(run.id)) for run in (*running, *queued, *ended)]


async def _usual(runs: Runs, wanted: Sequence[Run]) -> Mapping[str, float]:
    from agency.recipes.engine.estimate import PAST, usual_seconds

    found = {}
    for recipe in {run.order.recipe for run in wanted}:
        seconds = usual_seconds(await runs.of_recipe(recipe, limit=2 * PAST))
        if seconds is not None:
            found[recipe] = seconds
    return found


def _row(run: Run, place: Place | None) -> dict[str, object]:
    row: dict[str, object] = {
        "run": run.id,
        "recipe": run.order.recipe,
        "pullRequest": run.order.pull_request,
        "commit": run.order.commit,
        "state": run.state.value,
        "requester": run.order.requester,
        "reason": run.reason,
        "stopAskedBy": run.stop_asked_by,
    }
    if place is not None:
        row["position"] = place.position
        row["startsInSeconds"] = round(place.starts_in_s)
        row["endsInSeconds"] = round(place.ends_in_s)
    return row


def _line(row: Mapping[str, object]) -> str:
    head = f"{row['run']}  {row['state']:<9}  {row['recipe']} #{row['pullRequest']}"
    if row["state"] == "queued":
        return f"{head}  position {row['position']}, starts in {_span(row['startsInSeconds'])}"
    if row["state"] == "running":
        stop = f", to be stopped by {row['stopAskedBy']}" if row["stopAskedBy"] else ""
        return f"{head}  ends in {_span(row['endsInSeconds'])}{stop}"
    reason = str(row["reason"]).partition("\n")[0]
    return f"{head}  {reason}".rstrip()


def _span(seconds: object) -> str:
    assert isinstance(seconds, int)
    return f"about {max(1, round(seconds / 60))} min" if seconds else "a moment"


async def _add(
    config: RecipesConfig,
    recipe: str,
    pull_request: int,
    stages: tuple[str, ...],
    token: Path | None,
) -> Run:
    from agency.clock import Clock
    from agency.recipes.record.runs import open_runs

    settings = config.recipes.get(recipe)
    if settings is None:
        known = ", ".join(sorted(config.recipes)) or "none"
        raise BadInputError(f"not enrolled; enrolled are {known}", where=recipe[:80])
    order = await _order(config, recipe, settings.repository, pull_request, token)
    async with open_runs(config.state, Clock()) as runs:
        order = replace(order, stages=stages)
        return (await runs.add(order, run_id(secrets.token_bytes(5)))).run


async def _order(
    config: RecipesConfig, recipe: str, project: str, number: int, token: Path | None
) -> Order:
    """Ask the forge for the head of a pull request."""
    from agency.forge import MergeState, gitea_forge, gitlab_forge
    from agency.recipes.record.run import Order
    from agency.secrets import FORGE_BOT_TOKEN, read_credential
    from agency.settings import read_bounded

    if token is None:
        key = read_credential(FORGE_BOT_TOKEN).reveal()
    else:
        key = read_bounded(token, most=4096, what="the token", private=True).decode().strip()
    opened = gitea_forge if config.forge.kind == "gitea" else gitlab_forge
    async with opened(config.forge.url, key) as forge:
        request = await forge.merge_request(project, number)
        if request.state is not MergeState.OPEN:
            raise BadInputError(f"it is {request.state.value}", where=f"{project}#{number}")
        clone_url = (await forge.project(project)).clone_url
    return Order(
        recipe=recipe,
        project=project,
        pull_request=number,
        commit=request.head_sha,
        head_ref=request.head_ref,
        clone_url=clone_url,
        stages=(),
        requester=getpass.getuser(),
    )


async def _cancel(config: RecipesConfig, run: str) -> Run:
    from agency.clock import Clock
    from agency.recipes.record.runs import open_runs

    async with open_runs(config.state, Clock()) as runs:
        found = await runs.stop(run, getpass.getuser())
        if found is None:
            known = await runs.run(run)
            told = f"it has ended: {known.state.value}" if known else "there is no such run"
            raise BadInputError(told, where=run, hint="agency recipes queue list --all")
        return found
