"""Check of enrolled recipes: whether entry, tests, repository and recipe still fit together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agency.errors import AgencyError, PrerequisiteError
from agency.instance import LoadedInstance
from agency.recipes.enrol.findings import Findings
from agency.recipes.enrol.plan import tests_directory
from agency.recipes.enrol.proposals import suites
from agency.recipes.enrol.source import Found
from agency.recipes.enrol.suites import Suites, look
from agency.recipes.stages.all import CHANGE, KEEP, WRITE


@dataclass(frozen=True, slots=True)
class Checked:
    """Result for one recipe; `commit` is empty where the recipe was not fetched."""

    recipe: str
    repository: str
    commit: str
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """True if nothing is wrong."""
        return not self.problems

    def as_dict(self) -> dict[str, object]:
        """Describe it for `--json`."""
        return {
            "recipe": self.recipe,
            "repository": self.repository,
            "commit": self.commit,
            "ok": self.ok,
            "problems": list(self.problems),
        }


def check_recipe(
    loaded: LoadedInstance, recipe: str, read: Callable[[str], Found] | None
) -> Checked:
    """Check one enrolled recipe; `read` fetches it by its repository, None leaves that out.

    Raises:
        PrerequisiteError: git is missing.
    """
    repository = loaded.instance.recipes[recipe].repository
    seen = look(tests_directory(loaded, recipe))
    problems = [*seen.problems, *(f"not filled in: {one}" for one in seen.to_fill_in)]
    commit = ""
    if read is not None:
        try:
            found = read(repository)
        except PrerequisiteError:
            raise
        except AgencyError as error:
            problems.append(f"{repository}: {str(error).partition(chr(10))[0]}")
        else:
            commit = found.commit
            problems += fits(found.findings, seen)
    return Checked(recipe, repository, commit, tuple(problems))


def fits(found: Findings, seen: Suites) -> Iterator[str]:
    """Find what the recipe and its tests do not agree on."""
    for one in found.refused:
        yield f"{one.where}: refused by the policy ({one.rule}): {one.message}"
    if found.routed is None:
        yield "no service has a Traefik router with a Host rule, so nothing leads to the app"
    wanted = suites(found)
    for suite in wanted:
        if suite not in seen.there:
            yield f"test_{suite}.py is missing: `agency recipes enrol {found.recipe}` writes it"
    if CHANGE in seen.there and CHANGE not in wanted:
        yield "test_change.py never runs: the recipe has no backup label, or no volume"
    if (WRITE in seen.there) != (KEEP in seen.there):
        yield "test_write.py and test_keep.py are run together, and one is missing"
