"""Janitor: at the start of a run it removes what killed runs left behind.

A run whose lock is held lives, however old it is; one whose lock is free is dead, however young.
Only what a run's record names is removed, by the label of its stack and by its stack's name.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agency.errors import AgencyError
from agency.recipes.run import places
from agency.recipes.run.swarm import Swarm
from agency.recipes.stages.bounding import end_left

REMOVAL_S = 90.0
_GRACE_S = 5.0


@dataclass(frozen=True, slots=True)
class Reaped:
    """One dead run, and what of it could not be removed."""

    run: str
    domain: str
    left: tuple[str, ...]


def reap(
    base: Path, swarm: Swarm, docker_url: str, say: Callable[[str], None]
) -> tuple[Reaped, ...]:
    """Remove what dead runs left on this swarm; `say` hears of each."""
    found = []
    for path in places.directories(base):
        held = places.hold(path)
        if held is None:
            continue
        try:
            reaped = _reap(path, held, swarm, docker_url)
        except AgencyError as error:
            say(f"janitor: {path.name}: {error}")
            reaped = None
        finally:
            held.release()
        if reaped is not None:
            left = f"; still there: {', '.join(reaped.left)}" if reaped.left else ""
            say(f"janitor: removed what the dead run {reaped.run} left{left}")
            found.append(reaped)
    return tuple(found)


def _reap(path: Path, held: places.Private, swarm: Swarm, docker_url: str) -> Reaped | None:
    record = places.read_record(path)
    if record is None:  # it ended before it deployed anything
        if path.is_dir():
            held.remove()
        return None
    if record.kept or record.docker_url != docker_url:
        return None
    return end_dead(record, held, swarm)


def end_dead(record: places.Record, held: places.Private, swarm: Swarm) -> Reaped:
    """End a dead run whose lock is held here; its directory stays if something is left."""
    end_left(record.run, _GRACE_S)
    shutil.rmtree(held.path / "abra", ignore_errors=True)
    left = swarm.remove(record.stack, REMOVAL_S)
    held.secrets_file.unlink(missing_ok=True)
    if not left:
        held.remove()
    return Reaped(record.run, record.domain, tuple(map(str, left)))
