"""What the command line says of a host over SSH; light, since every spin-up reads it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


@dataclass(frozen=True, slots=True)
class SshOptions:
    """See the options' own help."""

    host: str | None
    ssh_options: tuple[str, ...]
    connect_timeout_s: float
    read_only: bool
    password_file: Path | None


_OPTIONS: tuple[Decorator, ...] = (
    click.option(
        "--host", metavar="[USER@]HOST", default=None, help="The host of --target ssh, as root."
    ),
    click.option(
        "--ssh-option",
        "ssh_options",
        multiple=True,
        metavar="KEYWORD=VALUE",
        help="An option of ssh, such as Port=2222; may be given several times.",
    ),
    click.option(
        "--connect-timeout",
        "connect_timeout_s",
        type=click.FloatRange(min=1, max=600),
        default=30,
        show_default=True,
        help="Seconds that connecting to a host may take.",
    ),
    click.option(
        "--read-only/--no-read-only",
        default=True,
        show_default=True,
        help="Only look at the host of --target ssh, or start and stop its agents too.",
    ),
    click.option(
        "--password-file",
        type=click.Path(dir_okay=False, path_type=Path),
        default=None,
        help="Passwords by Matrix id as JSON, mode 0600; who talks to the host's agency.",
    ),
)


def ssh_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what may be said of a host; the command gets it as one `ssh` (SshOptions)."""

    @functools.wraps(command)
    def packed(**values: Any) -> Any:
        chosen = {field.name: values.pop(field.name) for field in dataclasses.fields(SshOptions)}
        return command(ssh=SshOptions(**chosen), **values)

    wrapped: Callable[..., Any] = packed
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped
