"""Options of `--target incus`; light, since every spin-up reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from agency.spinup.options import SECONDS, SUITE_TIMEOUT, Decorator, table
from agency.spinup.targets.incus.parts import known_parts

_KINDS = click.Choice(["auto", "vm", "container"])
_KIND = "What a guest is: a virtual machine where the host can run one, else a container."
_SYSTEMS = click.Choice(["auto", "debian", "nixos"])
_MEMORY_MB = click.IntRange(min=256, max=1 << 20)
_CPUS = click.IntRange(min=1, max=256)
_DISK_GB = click.IntRange(min=2, max=1 << 14)
_DISK = "Most disk space of the guest, in GiB, where the pool has quotas."
_PARTS = "Parts to run and examine too, by comma; known are: "
_SUPPLIES = "Directory of what parts take into a guest without a network; see docs/guests.md."
_BOOT = "Seconds until a guest's systemd must run."
_ACTIVATE = "Seconds that an activation may take."

KNOWN_PARTS = known_parts()


def chosen_parts(
    _context: click.Context, _parameter: click.Parameter, value: str
) -> tuple[str, ...]:
    """Split the names of parts; a click callback."""
    names = tuple(name.strip() for name in value.split(",")) if value else ()
    for name in names:
        if name not in KNOWN_PARTS:
            raise click.BadParameter(f"{name!r} is no part; use {', '.join(KNOWN_PARTS)}")
        if names.count(name) > 1:
            raise click.BadParameter(f"{name} is given twice")
    return tuple(sorted(names))


OPTIONS: Mapping[str, Decorator] = {
    **table(
        ("guest_kind", "--guest", _KINDS, "auto", _KIND),
        ("guest_system", "--image", _SYSTEMS, "auto", "What a guest boots."),
        ("pool", "--pool", click.STRING, None, "Incus storage pool of the guest."),
        ("memory_mb", "--memory", _MEMORY_MB, 2048, "Most memory of the guest, in MiB."),
        ("cpus", "--cpus", _CPUS, 2, "Cores of the guest."),
        ("disk_gb", "--disk", _DISK_GB, 8, _DISK),
        ("boot_timeout_s", "--boot-timeout", SECONDS, 90, _BOOT),
        ("activate_timeout_s", "--activate-timeout", SECONDS, 120, _ACTIVATE),
        SUITE_TIMEOUT,
    ),
    "parts": click.option(
        "--with",
        "parts",
        metavar="PART[,PART]",
        default="",
        callback=chosen_parts,
        help=_PARTS + ", ".join(KNOWN_PARTS) + ".",
    ),
    "supplies": click.option(
        "--supplies",
        type=click.Path(path_type=Path, file_okay=False, exists=True),
        help=_SUPPLIES,
    ),
    "keep": click.option(
        "--keep", is_flag=True, help="Leave the guest; `agency guest` looks into it."
    ),
}
