"""Options that several commands of the spin-up share."""

from __future__ import annotations

import click


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
