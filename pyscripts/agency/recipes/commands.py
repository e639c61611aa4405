"""`agency recipes`: recipe CI on the command line, and the programs behind its units."""

from __future__ import annotations

import click

from agency.recipes.bridge.commands import bridge
from agency.recipes.dashboard.command import dashboard
from agency.recipes.engine.commands import pipeline, run, runner
from agency.recipes.engine.queue_commands import queue
from agency.recipes.enrol.commands import check, drop, enrol, list_
from agency.recipes.mirror.commands import mirror_
from agency.recipes.trying import teardown, try_


@click.group()
def recipes() -> None:
    """Test Co-op Cloud recipes on real deployments."""


_COMMANDS = (
    *(try_, teardown, enrol, list_, drop, check, mirror_),
    *(bridge, dashboard, runner, run, queue, pipeline),
)
for _command in _COMMANDS:
    recipes.add_command(_command)
