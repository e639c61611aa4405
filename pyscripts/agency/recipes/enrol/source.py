"""Recipe to enrol or to check, fetched into a directory that is removed afterwards."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from agency.errors import BadInputError, UsageError
from agency.naming import recipe_host
from agency.recipes.enrol.findings import Findings, find
from agency.recipes.recipe.read import read_recipe, recipe_name
from agency.recipes.recipe.versions import published
from agency.recipes.run.checkout import Source, fetch, parse_source

UPSTREAM = "https://git.coopcloud.tech/coop-cloud"


@dataclass(frozen=True, slots=True)
class Found:
    """A recipe as it was found: where, at which commit."""

    place: str
    commit: str
    findings: Findings

    def as_dict(self) -> dict[str, object]:
        """Describe it for `--json`."""
        return {"from": self.place, "commit": self.commit, **self.findings.as_dict()}


def source_of(recipe: str, given: str | None) -> Source:
    """Return where a recipe is: the place given, a directory of its name here, else upstream.

    Raises:
        UsageError: the place given is neither a directory nor a URL.
    """
    if given is not None:
        return parse_source(given)
    if Path(recipe, ".env.sample").is_file():
        return Source(recipe, None)
    return parse_source(f"{UPSTREAM}/{recipe}.git")


def read_source(recipe: str, source: Source, domain: str) -> Found:
    """Fetch and read a recipe as it would be deployed for the instance of `domain`.

    Raises:
        BadInputError: it cannot be fetched or read, or is another recipe.
        PrerequisiteError: git is missing.
    """
    if not recipe or recipe.startswith(".") or "/" in recipe:
        raise UsageError(f"not the name of a recipe: {recipe[:80]!r}", hint="such as hedgedoc")
    with tempfile.TemporaryDirectory(prefix="agency-recipe-") as directory:
        place = Path(directory) / "recipe"
        checkout = fetch(source, place)
        name = recipe_name(place, source.name)
        if name != recipe:
            raise BadInputError(
                f"the recipe there is {name}, not {recipe}",
                where=f"{source.place}: TYPE of .env.sample",
                hint=f"enrol it as {name}, or name the right place with --from",
            )
        files = read_recipe(place, name, recipe_host(name, domain))
        return Found(source.place, checkout.commit, find(files, published(checkout.tags())))
