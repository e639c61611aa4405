"""`agency recipes`: recipe CI on the command line, and the programs behind its units."""

from __future__ import annotations

import click

from agency.commandline import add_unwritten
from agency.recipes.bridge.commands import bridge
from agency.recipes.engine.commands import pipeline, run, runner
from agency.recipes.engine.queue_commands import queue
from agency.recipes.enrol.commands import check, drop, enrol, list_
from agency.recipes.mirror.commands import mirror_
from agency.recipes.trying import teardown, try_


@click.group()
def recipes() -> None:
    """Test Co-op Cloud recipes on real deployments."""


recipes.add_command(try_)
recipes.add_command(teardown)
for command in (enrol, list_, drop, check, mirror_, bridge, runner, run, pipeline, queue):
    recipes.add_command(command)
add_unwritten(recipes)
