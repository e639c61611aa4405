"""`agency recipes`: recipe CI on the command line, and the programs behind its units."""

from __future__ import annotations

import click

from agency.commandline import add_unwritten
from agency.recipes.bridge.commands import bridge
from agency.recipes.dashboard.command import dashboard
from agency.recipes.engine.commands import pipeline, run, runner
from agency.recipes.engine.queue_commands import queue
from agency.recipes.trying import teardown, try_


@click.group()
def recipes() -> None:
    """Test Co-op Cloud recipes on real deployments."""


recipes.add_command(try_)
recipes.add_command(teardown)
recipes.add_command(runner)
recipes.add_command(run)
recipes.add_command(bridge)
recipes.add_command(dashboard)
recipes.add_command(pipeline)
recipes.add_command(queue)
add_unwritten(recipes)
