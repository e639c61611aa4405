"""Port of the stages: what a stage can do with the app of its run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from agency.errors import AgencyError
from agency.recipes.outcome import CaseResult
from agency.recipes.recipe.read import RecipeFiles
from agency.recipes.recipe.versions import Version


class StageError(AgencyError):
    """Something that a stage demands of the recipe and that does not hold."""


class LiveApp(Protocol):
    """App of a run. Every act ends when its effect was seen on the swarm, and raises if not."""

    @property
    def head(self) -> RecipeFiles:
        """The recipe under test."""

    def earlier(self) -> Sequence[Version]:
        """List the published versions before the one under test, the latest first."""

    def deploy_head(self) -> None:
        """Deploy the recipe under test, over what is there, and wait until it is ready."""

    def deploy_fresh(self, version: Version) -> None:
        """Deploy a published version without any data, and wait until it is ready."""

    def ensure_head(self) -> None:
        """Deploy the recipe under test unless it is what runs."""

    def back_up(self) -> None:
        """Take a backup."""

    def restore(self) -> None:
        """Restore the latest backup, and wait until the app is ready."""

    def has_suite(self, name: str) -> bool:
        """Return whether the tests have a file `test_<name>.py`."""

    def suite(self, name: str) -> tuple[CaseResult, ...]:
        """Run `test_<name>.py` against the app; raise if one of its tests fails."""

    def holds(self, name: str) -> bool:
        """Return whether `test_<name>.py` passes now; its results are not counted."""

    def own_tests(self) -> Sequence[str]:
        """List the files of the recipe's own `tests/` that no other stage runs."""

    def run_own_tests(self) -> tuple[CaseResult, ...]:
        """Run them; raise if one fails."""
