"""Ownership of guests, and removal of what killed runs left.

An instance carries whose it is in its config: the state directory of the one who made it, the id
of the run, and what it is for. A run holds the lock of its directory (rundir.py) for
as long as it lives; only that decides, never age. Instances without our labels, or of another
state directory, are not ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from agency.guests.incus.client import Incus
from agency.guests.incus.model import Instance
from agency.guests.machines.machine import Guest
from agency.locks import is_held

_RUN_LOCK = "lock"


class Purpose(StrEnum):
    """Purpose of a guest, and so who ends it."""

    RUN = "run"  # its run, or the janitor
    KEPT = "kept"  # a person
    LEASE = "lease"  # the sandbox that leased it


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose guests: `state` is the agency's state directory, `run` the id of the run or lease."""

    state: Path
    run: str
    purpose: Purpose = Purpose.RUN

    def labels(self) -> dict[str, str]:
        """Make the config keys of an instance of this owner, without their prefix."""
        return {
            "state": str(self.state.resolve()),
            "run": self.run,
            "purpose": str(self.purpose),
        }

    @property
    def instance(self) -> str:
        """The name of the instance."""
        return f"agency-{self.run}"


@dataclass(frozen=True, slots=True)
class Held:
    """One guest of ours; `alive` when the run that made it still runs."""

    instance: Instance
    run: str
    purpose: Purpose
    alive: bool

    @property
    def left_behind(self) -> bool:
        """True if nobody will remove it."""
        return self.purpose is Purpose.RUN and not self.alive


def ours(instances: Iterable[Instance], state: Path) -> tuple[Held, ...]:
    """List the guests among the instances that belong to a state directory."""
    found = []
    for instance in instances:
        labels = instance.labels
        if labels.get("state") != str(state.resolve()) or "run" not in labels:
            continue
        run = labels["run"]
        if instance.name != f"agency-{run}":
            continue  # a copy that somebody made keeps the labels; it is theirs
        alive = is_held(state / "runs" / run / _RUN_LOCK)
        found.append(Held(instance, run, Purpose(labels.get("purpose", "run")), alive))
    return tuple(found)


async def reap(incus: Incus, state: Path) -> tuple[str, ...]:
    """Destroy the guests of runs that are dead; returns their names."""
    reaped = []
    for held in ours(await incus.instances(), state):
        if held.left_behind and await _is_still(incus, held, state):
            await Guest.of(incus, held.instance).destroy()
            reaped.append(held.instance.name)
    return tuple(reaped)


async def _is_still(incus: Incus, held: Held, state: Path) -> bool:
    """Look again: the guest's run may have labelled it and ended between the looks.

    Whose lock was found free labels nothing any more, so what is seen from then on is true.
    """
    now = await incus.instance(held.instance.name)
    return now is not None and any(each.left_behind for each in ours([now], state))


async def keep(incus: Incus, name: str) -> None:
    """Leave a guest for people to look at: from now on only they remove it."""
    await incus.set_labels(name, {"purpose": str(Purpose.KEPT)})
