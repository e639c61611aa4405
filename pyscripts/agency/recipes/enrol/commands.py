"""Commands `agency recipes enrol`, `list`, `drop` and `check`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.text import Text

from agency.commandline import emit, json_option
from agency.errors import BadInputError, ExitCode, UsageError
from agency.instance import LoadedInstance, default_directory, load_instance
from agency.naming import public_host
from agency.recipes.enrol.checking import Checked, check_recipe
from agency.recipes.enrol.plan import plan_enrolment, plan_removal, tests_directory
from agency.recipes.enrol.proposals import Proposal, propose
from agency.recipes.enrol.report import print_findings, print_proposals
from agency.recipes.enrol.source import Found, read_source, source_of
from agency.recipes.enrol.suites import look
from agency.recipes.run.checkout import Source, parse_source

Command = TypeVar("Command", bound=Callable[..., Any])

_NONE = "no recipe is enrolled: `agency recipes enrol RECIPE`"
_recipe = click.argument("recipe")
_dry_run = click.option("--dry-run", is_flag=True, help="Show the plan and change nothing.")


def _instance(command: Command) -> Command:
    return click.option(
        "--instance",
        "directory",
        metavar="DIR",
        type=click.Path(path_type=Path),
        help="Directory of the instance; default: ./instance, the working directory, or above.",
    )(command)


def _from(command: Command) -> Command:
    return click.option(
        "--from", "given", metavar="PATH_OR_URL[@REF]", help="Where the recipe is to be read."
    )(command)


def _load(directory: Path | None) -> LoadedInstance:
    where = directory if directory is not None else default_directory()
    return load_instance(where, check_recipients=False)


@click.command()
@_recipe
@click.option(
    "--repository",
    metavar="OWNER/NAME",
    help="Its repository on the forge; default: RECIPE of the owner who has all others.",
)
@_from
@_instance
@_dry_run
@json_option
def enrol(
    recipe: str,
    repository: str | None,
    given: str | None,
    directory: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Enrol RECIPE: its entry in instance.yaml, and tests/recipes/RECIPE/ from a template.

    It is read from ./RECIPE or Co-op Cloud, or where --from says. What a person must fill in fails
    until they do. Nothing that is there is overwritten. Exit status 1: the policy refuses the
    recipe, or it cannot be read; nothing is written then.
    """
    loaded = _load(directory)
    found = read_source(recipe, source_of(recipe, given), loaded.instance.domain)
    proposals = propose(found.findings)
    if found.findings.refused:
        _refused(found, proposals, as_json=as_json)
    plan = plan_enrolment(loaded, found.findings, repository)
    if not dry_run:
        plan.write()
    answer = {
        "found": found.as_dict(),
        "proposed": [one.as_dict() for one in proposals],
        "directory": str(plan.directory),
        "files": list(plan.missing),
        "kept": list(plan.kept),
        "instance": plan.edit.difference(),
        "written": plan.changes and not dry_run,
    }

    def human(out: Console) -> None:
        print_findings(out, found)
        print_proposals(out, proposals)
        would = "would write" if dry_run else "wrote"
        for name in plan.missing:
            out.print(Text(f"{would} {plan.directory / name}"))
        for name in plan.kept:
            out.print(Text(f"kept {plan.directory / name}"))
        for line in plan.edit.difference():
            out.print(Text(f"{loaded.path}: {line}"))
        if not plan.changes:
            out.print(Text(f"{recipe} is enrolled already"))
        elif not dry_run:
            out.print(Text(f"next: fill in the tests, then `agency recipes check {recipe}`"))

    emit(answer, as_json=as_json, human=human)


def _refused(found: Found, proposals: tuple[Proposal, ...], *, as_json: bool) -> None:
    answer = {
        "found": found.as_dict(),
        "proposed": [one.as_dict() for one in proposals],
        "written": False,
    }

    def human(out: Console) -> None:
        print_findings(out, found)
        out.print(Text("not enrolled: every run would be refused; docs/recipes.md says why"))

    emit(answer, as_json=as_json, human=human)
    raise click.exceptions.Exit(int(ExitCode.BAD))


@click.command("list")
@_instance
@json_option
def list_(directory: Path | None, as_json: bool) -> None:
    """List the enrolled recipes with their repositories and suites."""
    loaded = _load(directory)
    seen = {
        recipe: (entry.repository, look(tests_directory(loaded, recipe)))
        for recipe, entry in sorted(loaded.instance.recipes.items())
    }
    rows = [
        {
            "recipe": recipe,
            "repository": repository,
            "suites": list(suites.there),
            "toFillIn": len(suites.to_fill_in),
            "problems": len(suites.problems),
        }
        for recipe, (repository, suites) in seen.items()
    ]

    def human(out: Console) -> None:
        for recipe, (repository, suites) in seen.items():
            there = " ".join(suites.there) or "no tests"
            left = f", {len(suites.to_fill_in)} to fill in" if suites.to_fill_in else ""
            out.print(Text(f"{recipe}  {repository}  {there}{left}"))
        if not seen:
            out.print(Text(_NONE))

    emit(rows, as_json=as_json, human=human)


@click.command()
@_recipe
@click.option("--tests", is_flag=True, help="Remove tests/recipes/RECIPE/, too.")
@_instance
@_dry_run
@json_option
def drop(recipe: str, tests: bool, directory: Path | None, dry_run: bool, as_json: bool) -> None:
    """Drop RECIPE: remove its entry from instance.yaml; its tests stay unless --tests.

    Exit status 1: it is not enrolled.
    """
    loaded = _load(directory)
    plan = plan_removal(loaded, recipe, tests=tests)
    if not dry_run:
        plan.write()
    answer = {
        "recipe": recipe,
        "instance": plan.edit.difference(),
        "removed": str(plan.directory) if plan.directory else None,
        "written": not dry_run,
    }

    def human(out: Console) -> None:
        for line in plan.edit.difference():
            out.print(Text(f"{loaded.path}: {line}"))
        if plan.directory:
            out.print(Text(f"{'would remove' if dry_run else 'removed'} {plan.directory}"))

    emit(answer, as_json=as_json, human=human)


@click.command()
@click.argument("recipes", metavar="[RECIPE]...", nargs=-1)
@click.option("--forge", metavar="URL", help="Where repositories are; default: the own GitLab.")
@_from
@click.option("--offline", is_flag=True, help="Fetch nothing: look at entries and tests alone.")
@_instance
@json_option
def check(
    recipes: tuple[str, ...],
    forge: str | None,
    given: str | None,
    offline: bool,
    directory: Path | None,
    as_json: bool,
) -> None:
    """Check that each enrolled recipe, its repository and its tests still fit together.

    Each RECIPE, or all. Exit status 1: one does not fit, or its tests are not filled in.
    """
    loaded = _load(directory)
    unknown = [one for one in recipes if one not in loaded.instance.recipes]
    if unknown:
        raise BadInputError(f"{unknown[0][:80]} is not enrolled", where=str(loaded.path))
    names = recipes or tuple(sorted(loaded.instance.recipes))
    if given is not None and len(names) != 1:
        raise UsageError("--from is the place of one recipe", hint="name one RECIPE")
    place = None if offline else _places(loaded, forge, given)
    checked = [
        check_recipe(loaded, one, partial(_read, one, place, loaded) if place else None)
        for one in names
    ]
    answer = {"ok": all(one.ok for one in checked), "recipes": [one.as_dict() for one in checked]}
    emit(answer, as_json=as_json, human=lambda out: _print_checked(out, checked))
    if not answer["ok"]:
        raise click.exceptions.Exit(int(ExitCode.BAD))


def _read(
    recipe: str, place: Callable[[str], Source], loaded: LoadedInstance, repository: str
) -> Found:
    return read_source(recipe, place(repository), loaded.instance.domain)


def _places(
    loaded: LoadedInstance, forge: str | None, given: str | None
) -> Callable[[str], Source]:
    """Return where a repository of the forge is fetched from."""
    if given is not None:
        source = parse_source(given)
        return lambda _: source
    if forge is None and loaded.instance.services.gitlab.enable:
        forge = f"https://{public_host('gitlab', loaded.instance.domain)}"
    if forge is None:
        raise UsageError(
            "the forge of the repositories is not known",
            where="--forge",
            hint="such as --forge https://git.example.org, or --offline to fetch nothing",
        )
    base = forge.rstrip("/")
    return lambda repository: parse_source(f"{base}/{repository}.git")


def _print_checked(out: Console, checked: list[Checked]) -> None:
    for one in checked:
        seen = f" at {one.commit[:12]}" if one.commit else ""
        out.print(Text(f"{one.recipe}: {'fits' if one.ok else 'does not fit'}{seen}"))
        for problem in one.problems:
            out.print(Text(f"  {problem}"))
    if not checked:
        out.print(Text(_NONE))
