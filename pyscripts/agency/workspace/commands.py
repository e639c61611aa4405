"""`agency workspace`: the programs behind an agent's units."""

from __future__ import annotations

import click

from agency.commandline import add_unwritten
from agency.workspace.audit.commands import audit


@click.group()
def workspace() -> None:
    """Run the programs behind an agent's features; their units call this."""


add_unwritten(workspace)
workspace.add_command(audit)
