"""What a person may choose about a guest, as one value."""

from __future__ import annotations

from dataclasses import dataclass, field

from agency.guests.incus.model import Limits
from agency.guests.machines.placement import Wanted
from agency.spinup.options import GuestOptions
from agency.spinup.targets.incus.system.choice import WantedSystem


@dataclass(frozen=True, slots=True)
class Wishes:
    """Kind, system, size and patience; times in seconds, each for one part of the run."""

    kind: Wanted = Wanted.AUTO
    system: WantedSystem = WantedSystem.AUTO
    pool: str | None = None
    limits: Limits = field(default_factory=Limits)
    keep: bool = False
    boot_timeout_s: float = 90.0
    activate_timeout_s: float = 120.0
    suite_timeout_s: float = 240.0


def wishes_of(options: GuestOptions) -> Wishes:
    """The wishes that a command line holds."""
    return Wishes(
        kind=Wanted(options.guest_kind),
        system=WantedSystem(options.guest_system),
        pool=options.pool,
        limits=Limits(memory_mb=options.memory_mb, cpus=options.cpus, disk_gb=options.disk_gb),
        keep=options.keep,
        boot_timeout_s=options.boot_timeout_s,
        activate_timeout_s=options.activate_timeout_s,
        suite_timeout_s=options.suite_timeout_s,
    )
