"""Command `agency version`."""

from __future__ import annotations

import platform
from importlib import metadata

import click
from rich.console import Console

from agency import __version__
from agency.commandline.output import emit, json_option

PARTS = ("matrix-synapse", "aiohttp", "pydantic", "sqlalchemy", "cryptography", "securesystemslib")


def versions() -> dict[str, str | None]:
    """Return the versions of the agency, Python and main libraries; None if not installed."""
    found: dict[str, str | None] = {"agency": __version__, "python": platform.python_version()}
    for part in PARTS:
        try:
            found[part] = metadata.version(part)
        except metadata.PackageNotFoundError:
            found[part] = None
    return found


@click.command()
@json_option
def version(as_json: bool) -> None:
    """Print the version of the agency and of its main libraries."""
    found = versions()

    def human(printer: Console) -> None:
        for name, value in found.items():
            printer.print(f"{name:16} {value or 'not installed'}")

    emit(found, as_json=as_json, human=human)
