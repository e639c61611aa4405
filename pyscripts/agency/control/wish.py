"""Wish: the state that a target shall have, as the last accepted command asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from agency.canonical import canonical_json, sha256_hex

if TYPE_CHECKING:
    from agency.control.grammar.command import Command


class Desired(StrEnum):
    """The state that the last command asked for."""

    RUNNING = "running"
    STOPPED = "stopped"
    DISABLED = "disabled"  # stopped, and not started until somebody enables it
    DELETED = "deleted"  # stopped, and on its way out of the inventory


@dataclass(frozen=True, slots=True)
class Wish:
    """State that a target shall have; a stopped one has no project."""

    desired: Desired
    project: str | None = None

    @property
    def is_down(self) -> bool:
        """True if the target is not to run."""
        return self.desired is not Desired.RUNNING

    def __str__(self) -> str:
        """Say what the target is to do."""
        if self.desired is Desired.STOPPED:
            return "to be stopped"
        if self.desired is Desired.DISABLED:
            return "to stay disabled"
        if self.desired is Desired.DELETED:
            return "to be deleted"
        return f"to run, with {with_project(self.project)}"


# The wish that a command makes, from the one before it and from whether its target runs; None if
# it leaves the wish as it is.
WishFor = Callable[["Command", "Wish | None", bool], Wish | None]


def leave(_command: Command, _before: Wish | None, _runs: bool) -> Wish | None:
    """Leave what is wished as it is: the command does not start or stop its target."""
    return None


def basis_of(wish: Wish | None) -> str:
    """Return the digest of a wish: what a change of its target is planned on."""
    plan = None if wish is None else [str(wish.desired), wish.project]
    return sha256_hex(canonical_json({"wish": plan}))


def with_project(project: str | None) -> str:
    """Name a project in a sentence."""
    return "no project" if project is None else f"the project {project}"
