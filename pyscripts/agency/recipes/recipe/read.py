"""Whole recipe as its directory has it, seen as an app of a given name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from agency.coopcloud import stack_name
from agency.errors import BadInputError
from agency.recipes.facts import Overlay
from agency.recipes.recipe.compose import (
    ComposeFile,
    Service,
    external_names,
    read_compose,
    services,
)
from agency.recipes.recipe.environment import Variable, read_environment, values, with_values
from agency.recipes.recipe.exports import FILE as ABRA_SH
from agency.recipes.recipe.exports import Export, exported, read_exports
from agency.recipes.recipe.files import read_file

SAMPLE = ".env.sample"
_SECRET = re.compile(r"SECRET_([A-Z0-9_]+)_VERSION\Z")
_VERSION = re.compile(r"coop-cloud\.[^.]*\.version\Z")
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}\.ya?ml\Z")


@dataclass(frozen=True, slots=True)
class RecipeFiles:
    """A recipe as it was read for one app.

    `directory` is where its files are, and `stack` what the app is on the swarm; `environment` is
    the text of the app's `.env`, and `variables` are its assignments.
    """

    name: str
    directory: Path
    stack: str
    environment: str
    variables: tuple[Variable, ...]
    compose: tuple[ComposeFile, ...]
    services: tuple[Service, ...]
    exports: tuple[Export, ...]
    overlay: Overlay | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of the secrets that abra is to generate."""
        found = (_SECRET.match(variable.name) for variable in self.variables)
        return tuple(match[1].lower() for match in found if match)

    @property
    def backed_up(self) -> tuple[str, ...]:
        """Names of the services with a backup label."""
        return tuple(one.name for one in self.services if one.backup_version)

    @property
    def version(self) -> str:
        """Version that the recipe says of itself by its label; empty if it says none.

        Source: Co-op Cloud's maintainers' handbook, label `coop-cloud.${STACK_NAME}.version`.
        """
        labels = (label for one in self.services for label in one.labels.items())
        found = (text for name, text in labels if _VERSION.match(name))
        return next(found, "")

    def on_swarm(self, section: str) -> dict[str, str]:
        """Return the external secrets, configs or networks, by key, as the swarm names them."""
        return external_names(self.compose, section)


def recipe_name(directory: Path, otherwise: str) -> str:
    """Return the recipe's name: TYPE of its sample, else the name of its place.

    Raises:
        BadInputError: there is no recipe, or its name is none.
    """
    sample = read_file(directory, SAMPLE)
    type_ = values(read_environment(sample)).get("TYPE", "").partition(":")[0]
    name = type_ or otherwise
    if not _SLUG.match(name):
        raise BadInputError(
            f"{name[:80]!r} is not a recipe's name",
            where=str(directory / SAMPLE),
            hint="set TYPE to 1 to 63 of a-z 0-9 -",
        )
    return name


def read_recipe(
    directory: Path, name: str, domain: str, overlay: Overlay | None = None
) -> RecipeFiles:
    """Read the recipe in a directory as the app at `domain` would be deployed from it.

    An overlay of the tests is the last of the compose files.

    Raises:
        BadInputError: something is not as a recipe is; the message names file and line.
    """
    environment = with_values(
        read_file(directory, SAMPLE), {"TYPE": name, "DOMAIN": domain, "LETS_ENCRYPT_ENV": ""}
    )
    variables = read_environment(environment)
    exports = read_exports(read_file(directory, ABRA_SH, missing=""))
    stack, own = stack_name(domain), values(variables)
    # The policy refuses a name of both, so that the order does not matter here.
    known = {**exported(exports), **own, "STACK_NAME": stack}
    listed = own.get("COMPOSE_FILE") or "compose.yml"
    files = tuple(
        read_compose(read_file(directory, _compose_name(one)), one, known)
        for one in listed.split(":")
        if one
    )
    if overlay is not None:
        environment = with_values(environment, {"COMPOSE_FILE": f"{listed}:{overlay.file}"})
        files = (*files, read_compose(overlay.text, overlay.file, known))
    return RecipeFiles(
        name,
        directory,
        stack,
        environment,
        variables,
        files,
        services(files),
        exports,
        overlay,
    )


def _compose_name(name: str) -> str:
    if not _FILE.match(name):
        raise BadInputError(
            f"COMPOSE_FILE names {name[:80]!r}",
            where=SAMPLE,
            hint="name compose files of the recipe's own directory, separated by colons",
        )
    return name
