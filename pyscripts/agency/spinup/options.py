"""Options that several commands or targets of the spin-up share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def pinned_ports(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, int]:
    """Turn `--port NAME=NUMBER` options into a mapping; a click callback."""
    ports: dict[str, int] = {}
    for value in values:
        name, separator, number = value.partition("=")
        if not separator or not number.isdigit() or not 0 < int(number) < 65536:
            raise click.BadParameter(f"{value!r} is not NAME=NUMBER, such as homeserver=8008")
        if name in ports:
            raise click.BadParameter(f"{name} is given twice: {ports[name]} and {number}")
        shared = next((other for other, port in ports.items() if port == int(number)), None)
        if shared is not None:
            raise click.BadParameter(f"port {number} is given to {shared} and to {name}")
        ports[name] = int(number)
    return ports


MAX_CHALLENGE = 200


def _one_line(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> str | None:
    """Refuse what does not fit into a field of the transcript; a click callback."""
    if value is not None and not (0 < len(value) <= MAX_CHALLENGE and value.isprintable()):
        raise click.BadParameter(f"1 to {MAX_CHALLENGE} printable characters")
    return value


challenge_option: Decorator = click.option(
    "--challenge",
    metavar="TEXT",
    callback=_one_line,
    default=None,
    help="Text of the verifier's choice for the transcript: it was made after this was known.",
)


def _default_instance() -> Path:
    """Find the instance as `agency check` does."""
    from agency.instance import default_directory  # the base install has no YAML

    return default_directory()


def instance_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--instance`, `--age-key` and `--port` (parameter `ports`) to a click command."""
    options: tuple[Decorator, ...] = (
        click.option(
            "--instance",
            type=click.Path(path_type=Path),
            default=_default_instance,
            show_default="./instance or the working directory, else one above",
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
            help="Pin a port: homeserver, control, models, agent-NAME. May be given several times.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


SECONDS = click.FloatRange(min=0, min_open=True, max=3600)
# A text: the class takes a parameter only since click 8.4, and nixpkgs has an older one.
Row: TypeAlias = "tuple[str, str, click.ParamType[Any], object, str]"
SUITE_TIMEOUT: Row = (
    *("suite_timeout_s", "--suite-timeout", SECONDS, 240),
    "Seconds that the suite in the guest may take.",
)


def table(*rows: Row) -> Mapping[str, Decorator]:
    """Make options by the names of their parameters: name, flag, type, default and help."""
    return {
        name: click.option(flag, name, type=kind, default=default, show_default=True, help=told)
        for name, flag, kind, default, told in rows
    }
