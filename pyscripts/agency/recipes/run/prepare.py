"""Preparation of a run: its inputs; and its app, fetched and examined before it is deployed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from agency.children import marked_environment
from agency.clock import Clock
from agency.coopcloud import AbraHome, stack_name
from agency.recipes.client import AppClient, Route
from agency.recipes.journal import Journal
from agency.recipes.observe.timesheet import Timesheet
from agency.recipes.recipe.overlay import read_overlay
from agency.recipes.recipe.read import read_recipe, recipe_name
from agency.recipes.registries import NO_REGISTRIES, Registries
from agency.recipes.run.app import App, examine
from agency.recipes.run.checkout import Source, fetch
from agency.recipes.run.places import Private
from agency.recipes.run.sidecar import Sidecar
from agency.recipes.run.swarm import Swarm
from agency.recipes.stages.screenshots import Album
from agency.recipes.stages.suites import SuiteRunner


@dataclass(frozen=True, slots=True)
class Wanted:
    """Order for a run.

    `tests` is a directory of suites in place of the recipe's own; `keep` leaves the app running.
    """

    source: Source
    stages: tuple[str, ...]
    keep: bool
    tests: Path | None
    pull_request: int | None
    zone: str


@dataclass(frozen=True, slots=True)
class Place:
    """Place of runs: programs, swarm, directories, time limits; `say` hears the progress."""

    abra: str
    docker_url: str
    route: Route
    artifacts: Path
    runs: Path
    deploy_s: float
    suite_s: float
    clock: Clock
    say: Callable[[str], None]
    run_s: float = 3600.0
    registries: Registries = NO_REGISTRIES


def prepare_app(
    wanted: Wanted,
    place: Place,
    run: str,
    domain: str,
    private: Private,
    artifacts: Path,
    journal: Journal,
) -> App:
    """Make the app of a run; nothing of it is on the swarm yet.

    Raises:
        BadInputError: the recipe cannot be fetched or read, or the policy refuses it.
    """
    journal.censor.add(place.registries.secrets())
    marker, timesheet = marked_environment(run), Timesheet(place.clock)
    abra = AbraHome(
        *(place.abra, private.path, domain, place.docker_url, marker, place.deploy_s),
        timed=timesheet.program,
    )
    abra.prepare()
    if wanted.source.token is not None:
        journal.censor.add([wanted.source.token])
    fetched = private.path / "recipe"
    with timesheet.program():
        checkout = fetch(wanted.source, fetched)
    name = recipe_name(fetched, wanted.source.name)
    target = abra.recipe(name)
    fetched.rename(target)
    own = _own_tests(target, private.path / "tests")
    tests = wanted.tests.resolve() if wanted.tests else own
    overlay = read_overlay(tests)
    checkout = replace(checkout, directory=target)
    if overlay is not None:
        checkout.reserve(overlay.file)
    head = read_recipe(target, name, domain, overlay)
    examine(head)
    return App(
        head=head,
        stack=stack_name(domain),
        checkout=checkout,
        abra=abra,
        swarm=Swarm(place.docker_url, place.clock),
        client=AppClient(domain, place.route),
        runner=SuiteRunner(
            *(run, domain, place.route, private.path, marker, place.suite_s, Album(artifacts)),
            timed=timesheet.program,
        ),
        sidecar=Sidecar(private.secrets_file, journal.censor),
        tests=tests,
        own=own,
        clock=place.clock,
        journal=journal,
        timesheet=timesheet,
        registries=place.registries,
    )


def _own_tests(recipe: Path, target: Path) -> Path | None:
    """Copy the recipe's tests: abra puts those of other versions in their place."""
    source = recipe / "tests"
    if source.is_symlink() or not source.is_dir():
        return None
    shutil.copytree(source, target, symlinks=True)
    return target
