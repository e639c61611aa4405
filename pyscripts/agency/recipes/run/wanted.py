"""Inputs of a run: what is asked for, and the place where it happens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agency.clock import Clock
from agency.recipes.client import Route
from agency.recipes.run.checkout import Source


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a run is asked to do.

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
    """Where runs happen: programs, swarm, directories, time limits; `say` hears the progress."""

    abra: str
    docker_url: str
    route: Route
    artifacts: Path
    runs: Path
    deploy_s: float
    suite_s: float
    clock: Clock
    say: Callable[[str], None]
