"""Options that several commands of the spin-up share."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from agency.errors import UsageError
from agency.spinup.targets.ssh.options import SshOptions

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def pinned_ports(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, int]:
    """Turn `--port NAME=NUMBER` options into a mapping; a click callback."""
    ports = {}
    for value in values:
        name, separator, number = value.partition("=")
        if not separator or not number.isdigit() or not 0 < int(number) < 65536:
            raise click.BadParameter(f"{value!r} is not NAME=NUMBER, such as homeserver=8008")
        ports[name] = int(number)
    return ports


def instance_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--instance`, `--age-key` and `--port` (parameter `ports`) to a click command."""
    options: tuple[Decorator, ...] = (
        click.option(
            "--instance",
            type=click.Path(path_type=Path),
            default=Path("instance"),
            show_default=True,
            help="The instance: a directory, or its instance.yaml.",
        ),
        click.option(
            "--age-key",
            type=click.Path(dir_okay=False, path_type=Path),
            default=None,
            help="The age key that decrypts the instance's secrets.",
        ),
        click.option(
            "--port",
            "ports",
            multiple=True,
            callback=pinned_ports,
            metavar="NAME=NUMBER",
            help="Pin a port: homeserver, control or agent-NAME. May be given several times.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def guest_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what may be chosen about a guest; the command gets it as one `guest` (GuestOptions)."""

    @functools.wraps(command)
    def packed(**values: Any) -> Any:
        chosen = {field.name: values.pop(field.name) for field in dataclasses.fields(GuestOptions)}
        return command(guest=GuestOptions(**chosen), **values)

    wrapped: Callable[..., Any] = packed
    for option in reversed(_GUEST):
        wrapped = option(wrapped)
    return wrapped


@dataclass(frozen=True, slots=True)
class GuestOptions:
    """What the command line says of a guest: plain values, since reading them must be quick."""

    guest_kind: str
    guest_system: str
    pool: str | None
    memory_mb: int
    cpus: int
    disk_gb: int
    boot_timeout_s: float
    activate_timeout_s: float
    suite_timeout_s: float
    keep: bool


_SECONDS = click.FloatRange(min=0, min_open=True, max=3600)
_GUEST: tuple[Decorator, ...] = (
    click.option(
        "--guest",
        "guest_kind",
        type=click.Choice(["auto", "vm", "container"]),
        default="auto",
        show_default=True,
        help="What a guest is: a virtual machine where the host can run one, else a container.",
    ),
    click.option(
        "--image",
        "guest_system",
        type=click.Choice(["auto", "debian", "nixos"]),
        default="auto",
        show_default=True,
        help="What a guest boots.",
    ),
    click.option("--pool", default=None, help="Incus storage pool of the guest."),
    click.option(
        "--memory",
        "memory_mb",
        type=click.IntRange(min=256, max=1 << 20),
        default=2048,
        show_default=True,
        help="Most memory of the guest, in MiB.",
    ),
    click.option(
        "--cpus",
        type=click.IntRange(min=1, max=256),
        default=2,
        show_default=True,
        help="Cores of the guest.",
    ),
    click.option(
        "--disk",
        "disk_gb",
        type=click.IntRange(min=2, max=1 << 14),
        default=8,
        show_default=True,
        help="Most disk space of the guest, in GiB, where the pool has quotas.",
    ),
    click.option(
        "--boot-timeout",
        "boot_timeout_s",
        type=_SECONDS,
        default=90,
        show_default=True,
        help="Seconds until a guest's systemd must run.",
    ),
    click.option(
        "--activate-timeout",
        "activate_timeout_s",
        type=_SECONDS,
        default=120,
        show_default=True,
        help="Seconds that an activation may take.",
    ),
    click.option(
        "--suite-timeout",
        "suite_timeout_s",
        type=_SECONDS,
        default=240,
        show_default=True,
        help="Seconds that the suite in the guest may take.",
    ),
    click.option("--keep", is_flag=True, help="Leave the guest; `agency guest` looks into it."),
)


# What only some targets have a use for, by the name of its parameter.
_TARGETS: Mapping[str, tuple[str, ...]] = {
    "namespace": ("local",),
    "ports": ("local",),
    **{field.name: ("incus",) for field in dataclasses.fields(GuestOptions)},
    "suite_timeout_s": ("incus", "ssh"),
    **{field.name: ("ssh",) for field in dataclasses.fields(SshOptions)},
}


def refuse_others(context: click.Context, target: str) -> None:
    """Refuse an option that the target has no use for: who gives it means another target.

    Raises:
        UsageError: there is one.
    """
    for parameter in context.command.params:
        name = str(parameter.name)
        targets = _TARGETS.get(name, (target,))
        if target in targets:
            continue
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UsageError(
                f"--target {target} has no use for it",
                where=" or ".join((*parameter.opts, *parameter.secondary_opts)),
                hint=f"leave it out, or say --target {' or '.join(targets)}",
            )
