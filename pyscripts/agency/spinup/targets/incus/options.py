"""Options of `--target incus`; light, since every spin-up reads them."""

from __future__ import annotations

from collections.abc import Mapping

import click

from agency.spinup.options import SECONDS, SUITE_TIMEOUT, Decorator

# By the name of the parameter.
OPTIONS: Mapping[str, Decorator] = {
    "guest_kind": click.option(
        "--guest",
        "guest_kind",
        type=click.Choice(["auto", "vm", "container"]),
        default="auto",
        show_default=True,
        help="What a guest is: a virtual machine where the host can run one, else a container.",
    ),
    "guest_system": click.option(
        "--image",
        "guest_system",
        type=click.Choice(["auto", "debian", "nixos"]),
        default="auto",
        show_default=True,
        help="What a guest boots.",
    ),
    "pool": click.option("--pool", default=None, help="Incus storage pool of the guest."),
    "memory_mb": click.option(
        "--memory",
        "memory_mb",
        type=click.IntRange(min=256, max=1 << 20),
        default=2048,
        show_default=True,
        help="Most memory of the guest, in MiB.",
    ),
    "cpus": click.option(
        "--cpus",
        type=click.IntRange(min=1, max=256),
        default=2,
        show_default=True,
        help="Cores of the guest.",
    ),
    "disk_gb": click.option(
        "--disk",
        "disk_gb",
        type=click.IntRange(min=2, max=1 << 14),
        default=8,
        show_default=True,
        help="Most disk space of the guest, in GiB, where the pool has quotas.",
    ),
    "boot_timeout_s": click.option(
        "--boot-timeout",
        "boot_timeout_s",
        type=SECONDS,
        default=90,
        show_default=True,
        help="Seconds until a guest's systemd must run.",
    ),
    "activate_timeout_s": click.option(
        "--activate-timeout",
        "activate_timeout_s",
        type=SECONDS,
        default=120,
        show_default=True,
        help="Seconds that an activation may take.",
    ),
    "suite_timeout_s": SUITE_TIMEOUT,
    "keep": click.option(
        "--keep", is_flag=True, help="Leave the guest; `agency guest` looks into it."
    ),
}
