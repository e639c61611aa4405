"""`agency recipes`: the programs behind the units of recipe CI."""

from __future__ import annotations

import click

from agency.commandline import add_unwritten


@click.group()
def recipes() -> None:
    """Run the programs of recipe CI; their units call these commands."""


add_unwritten(recipes)
