"""Plan of an enrolment, and of its end: the entry of instance.yaml and the tests beside it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agency.errors import BadInputError, PrerequisiteError, UsageError
from agency.files import write_atomically
from agency.instance import InstanceEdit, LoadedInstance, plan_recipe
from agency.recipes.enrol.findings import Findings
from agency.recipes.enrol.template import test_files


def tests_directory(loaded: LoadedInstance, recipe: str) -> Path:
    """Return the directory of a recipe's suites in an instance; runs of the server look there."""
    return loaded.root / "tests" / "recipes" / recipe


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A planned enrolment: files that are missing, files that are kept, the entry."""

    directory: Path
    missing: Mapping[str, str]
    kept: tuple[str, ...]
    edit: InstanceEdit

    @property
    def changes(self) -> bool:
        """True unless all is there already."""
        return bool(self.missing) or self.edit.after != self.edit.before

    def write(self) -> None:
        """Write the tests, then the entry, so that no entry is without its tests.

        Raises:
            PrerequisiteError: the instance cannot be written.
        """
        if not self.changes:
            return
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _not_written(self.directory, error) from error
        for name, text in self.missing.items():
            write_atomically(self.directory / name, text.encode())
        self.edit.write()


def plan_enrolment(loaded: LoadedInstance, found: Findings, repository: str | None) -> Enrolment:
    """Plan to enrol a recipe; what is there is kept.

    Raises:
        BadInputError: it is enrolled with another repository.
        UsageError: no repository is given, and the instance's recipes do not tell its owner.
    """
    listed = loaded.instance.recipes.get(found.recipe)
    if listed is not None and repository not in (None, listed.repository):
        raise BadInputError(
            f"{found.recipe} is enrolled with the repository {listed.repository}",
            where=str(loaded.path),
            hint=f"`agency recipes drop {found.recipe}` first; its tests stay",
        )
    wanted = repository or (listed and listed.repository) or _usual(loaded, found.recipe)
    directory = tests_directory(loaded, found.recipe)
    _no_links(loaded.root, directory)
    files = test_files(found)
    kept = tuple(name for name in files if (directory / name).exists())
    missing = {name: text for name, text in files.items() if name not in kept}
    return Enrolment(directory, missing, kept, plan_recipe(loaded, found.recipe, wanted))


def _usual(loaded: LoadedInstance, recipe: str) -> str:
    """Return a repository of the owner who has all others."""
    owners = {one.repository.rpartition("/")[0] for one in loaded.instance.recipes.values()}
    if len(owners) != 1:
        raise UsageError(
            "the repository of its merge requests is not known",
            where="--repository",
            hint=f"name it: --repository OWNER/{recipe}",
        )
    return f"{owners.pop()}/{recipe}"


def _no_links(root: Path, directory: Path) -> None:
    place = directory
    while place != root:
        if place.is_symlink():
            raise BadInputError(
                "is a symbolic link", where=str(place), hint="the tests are kept in the instance"
            )
        place = place.parent


@dataclass(frozen=True, slots=True)
class Removal:
    """A planned end of an enrolment; `directory` is None if the tests stay or there are none."""

    edit: InstanceEdit
    directory: Path | None

    def write(self) -> None:
        """Remove the entry, then the tests.

        Raises:
            PrerequisiteError: the instance cannot be written.
        """
        self.edit.write()
        if self.directory is not None:
            try:
                shutil.rmtree(self.directory)
            except OSError as error:
                raise _not_written(self.directory, error) from error


def plan_removal(loaded: LoadedInstance, recipe: str, *, tests: bool) -> Removal:
    """Plan to drop a recipe.

    Raises:
        BadInputError: it is not enrolled.
    """
    directory = tests_directory(loaded, recipe)
    if recipe not in loaded.instance.recipes:
        listed = ", ".join(loaded.instance.recipes) or "none"
        raise BadInputError(
            f"{recipe[:80]} is not enrolled", where=str(loaded.path), hint=f"enrolled: {listed}"
        )
    _no_links(loaded.root, directory)
    gone = directory if tests and directory.is_dir() else None
    return Removal(plan_recipe(loaded, recipe, None), gone)


def _not_written(path: Path, error: OSError) -> PrerequisiteError:
    return PrerequisiteError(
        f"cannot be written: {error.strerror}", where=str(path), hint="who owns the instance?"
    )
