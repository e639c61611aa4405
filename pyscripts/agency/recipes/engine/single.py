"""Command `agency recipes run`: one run of the record, from its start to its result.

An engine starts it. It always leaves a `result.json`, also of a recipe that is refused before
anything is deployed; without one the runner calls the run an error.
"""

from __future__ import annotations

import asyncio
import os
import traceback
from dataclasses import dataclass
from pathlib import Path

from agency.clock import Clock
from agency.coopcloud import find_abra
from agency.docker import DEFAULT_URL
from agency.errors import AgencyError, BadInputError, InternalError, PrerequisiteError
from agency.recipes.client import parse_route
from agency.recipes.configuration import RecipesConfig
from agency.recipes.engine.result import FILE
from agency.recipes.naming import app_domain
from agency.recipes.outcome import STAGES, Outcome, StageResult, Teardown
from agency.recipes.record.run import Run, RunState
from agency.recipes.record.runs import open_runs
from agency.recipes.registries import NO_REGISTRIES, Registries, read_registries
from agency.recipes.run import places
from agency.recipes.run.checkout import Source
from agency.recipes.run.conduct import conduct, write_result
from agency.recipes.run.perform import internal
from agency.recipes.run.prepare import Place, Wanted
from agency.recipes.run.report import Report
from agency.recipes.trying import say
from agency.secrets import (
    DIRECTORY_VARIABLE,
    FORGE_BOT_TOKEN,
    REGISTRY_CREDENTIALS,
    SecretValue,
    has_credential,
    read_credential,
)

# Beyond the runner's limit, by which a run has timed out: this one is for where no runner is.
_SLACK_S = 60.0
PREPARE = "prepare"  # the stage in a result of what failed before anything was deployed


@dataclass(frozen=True, slots=True)
class Layout:
    """Directories of the server's runs: what is shown of them, and what is private."""

    artifacts: Path
    apps: Path


def layout(state: Path) -> Layout:
    """Return the directories below the state of recipe CI."""
    return Layout(state / "artifacts", state / "apps")


def perform_run(config: RecipesConfig, run: str, docker_url: str | None, clock: Clock) -> Report:
    """Conduct a run that the record says is running.

    Raises:
        BadInputError: the record does not say so.
        PrerequisiteError: the record cannot be read.
    """
    found = asyncio.run(_read(config, run, clock))
    if found is None or found.state is not RunState.RUNNING:
        raise BadInputError(
            "the record has no such run that an engine started",
            where=run,
            hint="agency recipes queue add starts one; agency recipes try needs no record",
        )
    if found.stop_asked_by is not None:
        raise BadInputError(f"it is to stop, by {found.stop_asked_by}", where=run)
    artifacts = layout(config.state).artifacts / run
    if (artifacts / FILE).exists():
        raise BadInputError("this run has its result already", where=str(artifacts))
    began = clock.steady()
    try:
        place = place_of(config, docker_url or DEFAULT_URL, clock)
        return conduct(wanted_of(config, found), place, run)
    except places.RunBusyError:  # its result is the other process's to write
        raise
    except AgencyError as error:
        fault = error
    except Exception as error:  # noqa: BLE001 - a fault of ours must not cost the run its result
        # Without the message: nothing here knows the run's secrets, which it could have.
        say("".join(traceback.format_tb(error.__traceback__)) + type(error).__name__)
        fault = InternalError(internal(error))
    report = _refused(config, found, fault, clock, clock.steady() - began)
    artifacts.mkdir(parents=True, exist_ok=True)
    write_result(report, artifacts)
    return report


def wanted_of(config: RecipesConfig, run: Run) -> Wanted:
    """Make the order for a run; the instance's suites go before the recipe's own."""
    order, tests = run.order, config.runner.tests
    suites = tests / order.recipe if tests is not None else None
    return Wanted(
        source=Source(order.clone_url, order.commit, order.head_ref, _token(config, run)),
        stages=order.stages or STAGES,
        keep=False,
        tests=suites if suites is not None and suites.is_dir() else None,
        pull_request=order.pull_request,
        zone=config.zone,
    )


def _token(config: RecipesConfig, run: Run) -> SecretValue | None:
    """Return the forge's token, where there is one and the recipe is at that forge."""
    at_forge = run.order.clone_url.startswith(f"{config.forge.url.rstrip('/')}/")
    if not at_forge or not has_credential(FORGE_BOT_TOKEN):
        return None
    return read_credential(FORGE_BOT_TOKEN)


def registries_here() -> Registries:
    """Read the log-ins at registries, where the program has got that credential.

    Raises:
        PrerequisiteError: it is no configuration of Docker; that is not the recipe's fault.
    """
    if not has_credential(REGISTRY_CREDENTIALS):
        return NO_REGISTRIES
    try:
        return read_registries(Path(os.environ[DIRECTORY_VARIABLE]) / REGISTRY_CREDENTIALS)
    except BadInputError as error:
        hint = f"agency secrets set {REGISTRY_CREDENTIALS}"
        raise PrerequisiteError(error.message, where=REGISTRY_CREDENTIALS, hint=hint) from None


def place_of(config: RecipesConfig, docker_url: str, clock: Clock) -> Place:
    """Make the place of this machine's runs.

    Raises:
        PrerequisiteError: abra is missing, or a credential cannot be used.
    """
    settings, directories = config.runner, layout(config.state)
    return Place(
        abra=find_abra(docker_url, timeout_s=settings.deploy_timeout_s).program,
        docker_url=docker_url,
        route=parse_route(settings.through, settings.ca),
        artifacts=directories.artifacts,
        runs=directories.apps,
        deploy_s=settings.deploy_timeout_s,
        suite_s=settings.suite_timeout_s,
        clock=clock,
        say=say,
        run_s=config.build_timeout_minutes * 60.0 + _SLACK_S,
        registries=registries_here(),
    )


def _refused(
    config: RecipesConfig, run: Run, error: AgencyError, clock: Clock, seconds: float
) -> Report:
    """Make the report of a run that ended without one: nearly always before its app was there."""
    ours = isinstance(error, PrerequisiteError | InternalError)
    reason = f"{error.where}: {error.message}" if error.where else error.message
    order, apps = run.order, layout(config.state).apps
    stage = StageResult(PREPARE, Outcome.ERROR if ours else Outcome.FAIL, seconds, reason)
    left = tuple(f"app {path.name}" for path in places.directories(apps) if run.id in path.name)
    return Report(
        run=run.id,
        recipe=order.recipe,
        commit=order.commit,
        modified=False,
        domain=app_domain(order.recipe, order.pull_request, run.id, config.zone),
        abra="",
        started=clock.now_iso(),
        seconds=seconds,
        stages=(stage,),
        teardown=Teardown(left=left),
        artifacts=str(layout(config.state).artifacts / run.id),
    )


async def _read(config: RecipesConfig, run: str, clock: Clock) -> Run | None:
    async with open_runs(config.state, clock) as runs:
        return await runs.run(run)
