"""Choices of a person about a guest, as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agency.guests import Limits, WantedKind
from agency.spinup.targets.incus.system.choice import WantedSystem


@dataclass(frozen=True, slots=True)
class Config:
    """Kind, system, size and time limits of a guest; each limit is for one part of the run."""

    kind: WantedKind = WantedKind.AUTO
    system: WantedSystem = WantedSystem.AUTO
    pool: str | None = None
    limits: Limits = field(default_factory=Limits)
    keep: bool = False
    parts: tuple[str, ...] = ()  # of the profile, by name
    supplies: Path | None = None  # directory of what parts take into the guest
    boot_timeout_s: float = 90.0
    activate_timeout_s: float = 120.0
    suite_timeout_s: float = 240.0


def config_of(chosen: Mapping[str, Any]) -> Config:
    """Read the values of a command line's options."""
    limits = {name: chosen[name] for name in ("memory_mb", "cpus", "disk_gb")}
    same: tuple[str, ...] = ("pool", "keep", "parts", "supplies")
    same += ("boot_timeout_s", "activate_timeout_s", "suite_timeout_s")
    return Config(
        kind=WantedKind(chosen["guest_kind"]),
        system=WantedSystem(chosen["guest_system"]),
        limits=Limits(**limits),
        **{name: chosen[name] for name in same},
    )
